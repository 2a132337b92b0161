// How keys and values lie in a page (ops/kv_page.h): for each layer and key/value head the keys of all
// tokens, then the values of all tokens. Those of a head are the numbers [kPageTokens, D], and in kInt8 and
// kInt4 the scales [kPageTokens, ⌈D / 32⌉] in float16 after them. In kInt4 the first of two numbers is in the
// lower half of a byte.
#pragma once

#include <cstdint>

#include "longlora/ops/kv_page.h"

namespace longlora::ops::cpu {

/// How many neighbouring dimensions share a scale.
constexpr int64_t kScaleDims = 32;

/// The bytes of a token's numbers in a head.
constexpr int64_t page_number_bytes(PageFormat format, int64_t head_dim) {
  switch (format) {
    case PageFormat::kFloat:
      return 4 * head_dim;
    case PageFormat::kBFloat16:
      return 2 * head_dim;
    case PageFormat::kInt8:
      return head_dim;
    default:
      return (head_dim + 1) / 2;
  }
}

/// How many scales a token has in a head.
constexpr int64_t page_scales(PageFormat format, int64_t head_dim) {
  const bool has_scales = format == PageFormat::kInt8 || format == PageFormat::kInt4;
  return has_scales ? (head_dim + kScaleDims - 1) / kScaleDims : 0;
}

/// The bytes of a head's keys or of its values.
constexpr int64_t page_head_bytes(PageFormat format, int64_t head_dim) {
  return kPageTokens * (page_number_bytes(format, head_dim) + 2 * page_scales(format, head_dim));
}

/// The place of a head's keys, after which its values follow.
constexpr int64_t page_head_place(const PageShape& shape, PageFormat format, int64_t layer, int64_t kv_head) {
  return (layer * shape.kv_heads + kv_head) * 2 * page_head_bytes(format, shape.head_dim);
}

}  // namespace longlora::ops::cpu
