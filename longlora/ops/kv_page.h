// Pages of a key/value cache: how the keys and values of some neighbouring tokens lie in memory, in all
// layers.
//
// This file alone knows that layout. Whoever writes or reads a page does it through these functions and
// through paged_attention.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "longlora/ops/cpu/bf16.h"

namespace longlora::ops {

/// How many neighbouring tokens a page holds. It is a block of blocked attention.
constexpr int64_t kPageTokens = 64;

/// How numbers are stored in a page. kInt8 and kInt4 have a scale in float16 for 32 neighbouring dimensions
/// of a token's key or value (the last such group of a head may be shorter): 1.0625 and 0.5625 bytes a
/// number. A page is written in kFloat or kBFloat16, and becomes kInt8 or kInt4 by compress_page() once it is
/// full.
enum class PageFormat { kFloat, kBFloat16, kInt8, kInt4 };

/// What all pages of a model have in common.
struct PageShape {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;

  /// The bytes of a page. A page is aligned to 64 bytes.
  int64_t num_bytes(PageFormat format) const;
};

/// A page as kernels read it. `data` null: the tokens of the page were dropped.
struct PageView {
  PageFormat format = PageFormat::kBFloat16;
  std::byte* data = nullptr;
};

/// Writes the rotated keys and the values of `count` tokens, which are the tokens [first, first + count) of
/// the page, in one layer. Key head h of token t is at keys[t · token_stride + h · head_stride], in elements.
/// The page has the format of T: float or Bf16.
template <typename T>
struct TokenRows {
  const T* keys;
  const T* values;
  int64_t token_stride, head_stride;
};
template <typename T>
void write_page(const PageShape& shape, PageView page, int64_t layer, int64_t first, int64_t count,
                const TokenRows<T>& rows);

/// Writes a full page in kFloat or kBFloat16 into `to`, whose format is kInt8 or kInt4.
void compress_page(const PageShape& shape, PageView from, PageView to);

}  // namespace longlora::ops
