#include "longlora/ops/paged_attention.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/ops/attention.h"
#include "longlora/ops/attention_paths.h"
#include "longlora/ops/cpu/keys_in_pages.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops {
namespace {

void check(const at::Tensor& q, const PagedKeys& keys, int64_t layer, int64_t num_tokens) {
  const PageShape& shape = keys.shape;
  if (q.dim() != 3 || q.size(2) != shape.head_dim || shape.kv_heads < 1 || q.size(1) % shape.kv_heads != 0 ||
      layer < 0 || layer >= shape.layers)
    throw Error(
        fmt::format("[paged attention] expected queries for {} key/value heads of {} in layer {} of {}",
                    shape.kv_heads, shape.head_dim, layer, shape.layers));
  if (q.size(0) > num_tokens || std::ssize(keys.pages) * kPageTokens < num_tokens)
    throw Error(
        fmt::format("[paged attention] expected pages for {} tokens and no more queries, got {} pages and "
                    "{} queries",
                    num_tokens, keys.pages.size(), q.size(0)));
}

// The keys or the values of the tokens [first, end) as tensors [N, K, D]; `first` is the first of a page.
at::Tensor gather(const PagedKeys& keys, int64_t layer, bool values, int64_t first, int64_t end,
                  const at::TensorOptions& options) {
  const PageShape& shape = keys.shape;
  const int64_t pages = (end - first + kPageTokens - 1) / kPageTokens;
  const at::Tensor all = at::empty({pages, shape.kv_heads, kPageTokens, shape.head_dim}, at::kFloat);
  auto* out = all.mutable_data_ptr<float>();
  for (int64_t i = 0; i < pages; ++i) {
    const PageView& page = keys.pages[static_cast<size_t>(first / kPageTokens + i)];
    for (int64_t h = 0; h < shape.kv_heads; ++h, out += kPageTokens * shape.head_dim) {
      const std::byte* numbers = page.data + cpu::page_head_place(shape, page.format, layer, h);
      if (values) numbers += cpu::page_head_bytes(page.format, shape.head_dim);
      cpu::widen_page_head(page.format, numbers, shape.head_dim, out);
    }
  }
  return all.transpose(1, 2)
      .reshape({pages * kPageTokens, shape.kv_heads, shape.head_dim})
      .slice(0, 0, end - first)
      .to(options);
}

}  // namespace

at::Tensor paged_attention(const at::Tensor& q, const PagedKeys& keys, int64_t layer, int64_t num_tokens,
                           int64_t window_tokens, at::Tensor* log_sum_exp) {
  check(q, keys, layer, num_tokens);
  const auto plan_of = [&](int64_t tokens) {
    return last_tokens(make_segment_plan({.row_tokens = tokens, .window_tokens = window_tokens}), q.size(0));
  };
  KeptAttention results;
  if (q.device().is_cpu() && attention_cpu_takes(q)) {
    results = paged_attention_cpu(q, keys, layer, plan_of(num_tokens));
  } else {
    // Pages before the first key that is seen may have been dropped.
    const int64_t hidden =
        window_tokens > 0 ? std::max<int64_t>(0, num_tokens - q.size(0) - window_tokens + 1) : 0;
    const int64_t first = hidden / kPageTokens * kPageTokens;
    results.out = attention(q, gather(keys, layer, /*values=*/false, first, num_tokens, q.options()),
                            gather(keys, layer, /*values=*/true, first, num_tokens, q.options()),
                            plan_of(num_tokens - first), &results);
  }
  if (log_sum_exp == nullptr) return results.out;
  if (!results.log_sum_exp.defined())
    throw Error(
        "[paged attention] expected queries whose kernel gives log_sum_exp: on the CPU, with heads of an "
        "even size");
  *log_sum_exp = results.log_sum_exp;
  return results.out;
}

}  // namespace longlora::ops
