// Attention whose keys and values lie in pages.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <span>

#include "longlora/ops/kv_page.h"

namespace longlora::ops {

/// The keys and values of one sequence. Page i holds the tokens [kPageTokens · i, kPageTokens · (i + 1)).
struct PagedKeys {
  PageShape shape;
  std::span<const PageView> pages;
};

/// Causal attention of the last N tokens of a sequence of `num_tokens` tokens: q [N, H, D], rotated, float32
/// or bfloat16; returns [N, H, D]. A query sees its own token and all before it, or with a window the last
/// window_tokens of these. Every page that is seen is there. Keys in kInt8 or kInt4 are widened block by
/// block. On the CPU, for heads of an even size, the result of a query depends on nothing but its keys: not
/// on N, nor on the number of threads; and `log_sum_exp`, where given, becomes [H, N] float32, base 2, so
/// that results over disjoint keys can be joined.
at::Tensor paged_attention(const at::Tensor& q, const PagedKeys& keys, int64_t layer, int64_t num_tokens,
                           int64_t window_tokens = 0, at::Tensor* log_sum_exp = nullptr);

}  // namespace longlora::ops
