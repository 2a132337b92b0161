#include "longlora/ops/paged_attention.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <tuple>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/ops/attention.h"
#include "longlora/ops/cpu/bf16.h"

namespace longlora::ops {
namespace {

constexpr int64_t kLayers = 3, kLayer = 1;

// Keys and values of a sequence, in tensors and in pages.
class Sequence {
 public:
  Sequence(int64_t tokens, int64_t kv_heads, int64_t head_dim, at::ScalarType dtype)
      : keys(at::randn({tokens, kv_heads, head_dim}).to(dtype)),
        values(at::randn({tokens, kv_heads, head_dim}).to(dtype)),
        shape_{kLayers, kv_heads, head_dim},
        format_(dtype == at::kFloat ? PageFormat::kFloat : PageFormat::kBFloat16) {
    for (int64_t begin = 0; begin < tokens; begin += kPageTokens) {
      views_.push_back(make(format_));
      const int64_t count = std::min(kPageTokens, tokens - begin);
      if (dtype == at::kFloat)
        write<float>(begin, count);
      else
        write<cpu::Bf16>(begin, count);
    }
  }

  // Stores the full pages [first, last) in fewer bits.
  void compress(PageFormat format, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const PageView narrow = make(format);
      compress_page(shape_, views_[static_cast<size_t>(i)], narrow);
      views_[static_cast<size_t>(i)] = narrow;
    }
  }
  // Makes a value of a token infinite.
  void spoil(int64_t token) {
    values[token][0][3] = std::numeric_limits<float>::infinity();
    const int64_t page = token / kPageTokens;
    const auto* const k = keys.const_data_ptr<float>() + page * kPageTokens * keys.stride(0);
    const auto* const v = values.const_data_ptr<float>() + page * kPageTokens * values.stride(0);
    write_page<float>(shape_, views_[static_cast<size_t>(page)], kLayer, 0, kPageTokens,
                      {k, v, keys.stride(0), keys.stride(1)});
  }
  void drop(int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) views_[static_cast<size_t>(i)].data = nullptr;
  }
  PagedKeys pages() const { return {shape_, views_}; }

  at::Tensor keys, values;

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete(data, std::align_val_t(64)); }
  };
  PageView make(PageFormat format) {
    const auto bytes = static_cast<size_t>(shape_.num_bytes(format));
    memory_.emplace_back(static_cast<std::byte*>(::operator new(bytes, std::align_val_t(64))));
    return {format, memory_.back().get()};
  }
  template <typename T>
  void write(int64_t begin, int64_t count) {
    const auto* const k = static_cast<const T*>(keys.const_data_ptr()) + begin * keys.stride(0);
    const auto* const v = static_cast<const T*>(values.const_data_ptr()) + begin * values.stride(0);
    write_page<T>(shape_, views_.back(), kLayer, 0, count, {k, v, keys.stride(0), keys.stride(1)});
  }

  PageShape shape_;
  PageFormat format_;
  std::vector<std::unique_ptr<std::byte, Free>> memory_;
  std::vector<PageView> views_;
};

at::Tensor expected_of(const at::Tensor& q, const Sequence& sequence, int64_t tokens, int64_t window) {
  const AttentionPlan all = make_segment_plan({.row_tokens = tokens, .window_tokens = window});
  return attention(q, sequence.keys.slice(0, 0, tokens), sequence.values.slice(0, 0, tokens),
                   last_tokens(all, q.size(0)));
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(PagedAttention, EqualsAttentionOverTensors) {
  at::manual_seed(1);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t width : {20, 64, 80, 7})
      for (const auto& [heads, kv_heads] : {std::pair(9, 3), std::pair(4, 4), std::pair(2, 1)})
        for (const int64_t tokens : {1, 63, 64, 65, 300}) {
          const Sequence sequence(tokens, kv_heads, width, dtype);
          for (const int64_t queries : {int64_t{1}, tokens / 3 + 1, tokens})
            for (const int64_t window : {0, 40, 128}) {
              const at::Tensor q = at::randn({queries, heads, width}).to(dtype);
              const at::Tensor got = paged_attention(q, sequence.pages(), kLayer, tokens, window);
              EXPECT_LT(distance(got, expected_of(q, sequence, tokens, window)),
                        dtype == at::kFloat ? 2e-6 : 0.03)
                  << width << " " << heads << " " << tokens << " " << queries << " " << window;
            }
        }
}

TEST(PagedAttention, GivesAQueryTheSameBitsInAnyChunk) {
  at::manual_seed(2);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Sequence sequence(700, 3, 64, dtype);
    const at::Tensor q = at::randn({700, 9, 64}).to(dtype);
    at::Tensor log_sum_exp;
    const at::Tensor whole = paged_attention(q, sequence.pages(), kLayer, 700, 0, &log_sum_exp);
    for (const auto& [begin, end] : {std::pair(0, 100), std::pair(100, 101), std::pair(333, 690)}) {
      at::Tensor part_log_sum_exp;
      const at::Tensor part =
          paged_attention(q.slice(0, begin, end), sequence.pages(), kLayer, end, 0, &part_log_sum_exp);
      EXPECT_TRUE(part.equal(whole.slice(0, begin, end))) << begin;
      EXPECT_TRUE(part_log_sum_exp.equal(log_sum_exp.slice(1, begin, end))) << begin;
    }
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    EXPECT_TRUE(paged_attention(q, sequence.pages(), kLayer, 700).equal(whole));
    at::set_num_threads(5);
    EXPECT_TRUE(paged_attention(q, sequence.pages(), kLayer, 700).equal(whole));
    at::set_num_threads(threads);
  }
}

TEST(PagedAttention, GivesTheLogarithmOfTheSumOfWeights) {
  at::manual_seed(3);
  const Sequence sequence(256, 2, 32, at::kFloat);
  const at::Tensor q = at::randn({1, 4, 32});
  at::Tensor log_sum_exp;
  paged_attention(q, sequence.pages(), kLayer, 256, 0, &log_sum_exp);
  const at::Tensor scores =
      at::einsum("qhd,nhd->hqn", {q, sequence.keys.repeat_interleave(2, 1)}) / std::sqrt(32.0);
  EXPECT_LT(distance(log_sum_exp * std::log(2.0), at::logsumexp(scores, -1)), 1e-5);
  const Sequence odd(64, 2, 7, at::kFloat);
  EXPECT_THROW(paged_attention(at::randn({1, 4, 7}), odd.pages(), kLayer, 64, 0, &log_sum_exp), Error);
}

TEST(PagedAttention, ShowsThatAKeyInFewerBitsWasNotFinite) {
  for (const auto format : {PageFormat::kInt8, PageFormat::kInt4}) {
    Sequence sequence(192, 2, 32, at::kFloat);
    sequence.spoil(70);
    sequence.compress(format, 1, 2);
    EXPECT_TRUE(
        paged_attention(at::randn({1, 4, 32}), sequence.pages(), kLayer, 192).isnan().any().item<bool>());
  }
}

TEST(PagedAttention, ReadsPagesInFewerBits) {
  at::manual_seed(4);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& [format, tolerance] :
         {std::pair(PageFormat::kInt8, 0.02), std::pair(PageFormat::kInt4, 0.35)})
      for (const int64_t width : {64, 40, 7}) {
        Sequence sequence(400, 2, width, dtype);
        const at::Tensor q = at::randn({30, 4, width}).to(dtype);
        const at::Tensor expected = expected_of(q, sequence, 400, 0);
        sequence.compress(format, 1, 5);
        const double difference = distance(paged_attention(q, sequence.pages(), kLayer, 400), expected);
        EXPECT_LT(difference, tolerance) << width;
        EXPECT_GT(difference, 0.0);
      }
}

TEST(PagedAttention, TouchesNoPageThatNobodySees) {
  at::manual_seed(5);
  for (const int64_t width : {64, 7}) {
    Sequence sequence(640, 2, width, at::kFloat);
    const at::Tensor q = at::randn({64, 4, width});
    const at::Tensor expected = expected_of(q, sequence, 640, 100);
    sequence.drop(0, 7);  // the first query sees from token 477 on
    EXPECT_LT(distance(paged_attention(q, sequence.pages(), kLayer, 640, 100), expected), 2e-6);
  }
}

TEST(PagedAttention, RefusesShapesThatDoNotFit) {
  const Sequence sequence(64, 2, 8, at::kFloat);
  EXPECT_THROW(paged_attention(at::zeros({1, 4, 9}), sequence.pages(), kLayer, 64), Error);
  EXPECT_THROW(paged_attention(at::zeros({1, 3, 8}), sequence.pages(), kLayer, 64), Error);
  EXPECT_THROW(paged_attention(at::zeros({1, 4, 8}), sequence.pages(), 3, 64), Error);
  EXPECT_THROW(paged_attention(at::zeros({1, 4, 8}), sequence.pages(), kLayer, 65), Error);
  EXPECT_THROW(paged_attention(at::zeros({65, 4, 8}), sequence.pages(), kLayer, 64), Error);
}

}  // namespace
}  // namespace longlora::ops
