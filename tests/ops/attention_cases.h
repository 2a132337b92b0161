// What the tests of attention share: inputs of many sizes, and every path that computes the result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/ops/attention.h"
#include "longlora/ops/attention_paths.h"
#include "tests/support/tensors.h"

namespace longlora::ops {

struct Path {
  const char* name;
  at::Tensor (*attend)(const at::Tensor&, const at::Tensor&, const at::Tensor&, const AttentionPlan&);
  bool (*takes)(const at::Tensor& q);
};

/// Paths that can keep their results, without that.
template <auto Attend>
at::Tensor keeping_nothing(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionPlan& plan) {
  return Attend(q, k, v, plan, nullptr);
}

inline bool always(const at::Tensor&) {
  return true;
}

inline bool is_not_double(const at::Tensor& q) {
  return q.scalar_type() != at::kDouble;  // whose digits a float32 log_sum_exp does not hold
}

constexpr Path kPaths[] = {
    {"dispatched", keeping_nothing<attention>, always},
    {"composed", attention_composed, always},
    {"flash, on kernels of fake_flash_attention.cpp", keeping_nothing<attention_flash>, is_not_double},
    {"cpu kernel", keeping_nothing<attention_cpu>, attention_cpu_takes}};

/// Sizes of one input; documents are starts inside each row.
struct Case {
  int64_t rows, tokens, group, heads, kv_heads, head_size;
  std::vector<int64_t> documents = {};
  int64_t window = 0;

  AttentionPlan plan() const {
    SegmentPlanOptions options = {.num_rows = rows, .row_tokens = tokens, .group_tokens = group};
    options.window_tokens = window;
    for (int64_t row = 0; row < rows; ++row)
      for (const int64_t start : documents) options.document_starts.push_back(row * tokens + start);
    return make_segment_plan(options);
  }
  std::string describe() const {
    return (::testing::Message() << rows << " rows of " << tokens << ", group " << group << ", heads "
                                 << heads << "/" << kv_heads << " of " << head_size << ", "
                                 << documents.size() << " documents, window " << window)
        .GetString();
  }
};

/// Output and gradients of one computation.
struct Result {
  at::Tensor out, grad_q, grad_k, grad_v;
};

struct Inputs {
  at::Tensor q, k, v, grad_out;

  static Inputs random(const Case& sizes, uint64_t seed, at::ScalarType dtype) {
    const int64_t tokens = sizes.rows * sizes.tokens;
    return {test::random_tensor({tokens, sizes.heads, sizes.head_size}, seed, dtype),
            test::random_tensor({tokens, sizes.kv_heads, sizes.head_size}, seed + 1, dtype),
            test::random_tensor({tokens, sizes.kv_heads, sizes.head_size}, seed + 2, dtype),
            test::random_tensor({tokens, sizes.heads, sizes.head_size}, seed + 3, dtype)};
  }
  Inputs to(at::ScalarType dtype) const {
    return {q.to(dtype), k.to(dtype), v.to(dtype), grad_out.to(dtype)};
  }
};

template <typename Attend>
Result run(const Attend& attend, const Inputs& inputs, const AttentionPlan& plan) {
  const at::ScalarType dtype = inputs.q.scalar_type();
  const at::Tensor q = test::leaf(inputs.q, dtype), k = test::leaf(inputs.k, dtype),
                   v = test::leaf(inputs.v, dtype);
  const at::Tensor out = attend(q, k, v, plan);
  const auto grads = test::gradients(out, {q, k, v}, inputs.grad_out);
  return {out.detach(), grads[0], grads[1], grads[2]};
}

inline void expect_close(const Result& actual, const Result& expected, double tolerance) {
  EXPECT_CLOSE(actual.out, expected.out, tolerance);
  EXPECT_CLOSE(actual.grad_q, expected.grad_q, tolerance);
  EXPECT_CLOSE(actual.grad_k, expected.grad_k, tolerance);
  EXPECT_CLOSE(actual.grad_v, expected.grad_v, tolerance);
}

/// What a dtype may lose against the same inputs in double, as a share of the largest value: float32 is
/// accumulated over hundreds of terms; bfloat16 holds 8 bits in inputs, probabilities and results.
inline double tolerance_of(at::ScalarType dtype) {
  if (dtype == at::kDouble) return 1e-12;
  return dtype == at::kFloat ? 1e-5 : 2e-2;
}

template <typename Body>
void for_each_path(const Body& body, const at::Tensor& q) {
  for (const Path& path : kPaths) {
    if (!path.takes(q)) continue;
    SCOPED_TRACE(path.name);
    body(path);
  }
}

}  // namespace longlora::ops
