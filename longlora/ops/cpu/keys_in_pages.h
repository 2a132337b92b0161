// Blocks of keys and values that blocked attention (attention_forward.h) takes from pages.
#pragma once

#include <cstdint>
#include <vector>

#include "longlora/ops/cpu/attention_kernels.h"
#include "longlora/ops/cpu/page_layout.h"
#include "longlora/ops/paged_attention.h"

namespace longlora::ops::cpu {

static_assert(kPageTokens == kAttentionBlock, "a page is a block");

/// Writes a head's keys or values, which begin at `numbers`, into out [kPageTokens, D].
template <typename T>
void widen_page_head(PageFormat format, const std::byte* numbers, int64_t head_dim, T* out);

template <typename T>
class KeysInPages {
 public:
  /// The pages must outlive this object. Copies are for other threads.
  KeysInPages(const PagedKeys& keys, int64_t layer)
      : keys_(keys), layer_(layer), kernels_(attention_kernels<T>()) {}

  /// `token` is the first of a page.
  void load(int64_t kv_head, int64_t token, int64_t valid, T* keys, T* values) {
    const int64_t width = keys_.shape.head_dim;
    const PageView& page = keys_.pages[static_cast<size_t>(token / kPageTokens)];
    const std::byte* const at = page.data + page_head_place(keys_.shape, page.format, layer_, kv_head);
    const T* const key_rows = rows(page.format, at);
    kernels_.copy_block(key_rows, width, valid, width, keys);
    const T* const value_rows = rows(page.format, at + page_head_bytes(page.format, width));
    kernels_.transpose_block(value_rows, width, valid, width, values);
  }

 private:
  static constexpr PageFormat kOwn = sizeof(T) == 4 ? PageFormat::kFloat : PageFormat::kBFloat16;

  const T* rows(PageFormat format, const std::byte* numbers) {
    if (format == kOwn) return reinterpret_cast<const T*>(numbers);
    widened_.resize(static_cast<size_t>(kPageTokens * keys_.shape.head_dim));
    widen_page_head(format, numbers, keys_.shape.head_dim, widened_.data());
    return widened_.data();
  }

  PagedKeys keys_;
  int64_t layer_;
  const AttentionKernels<T>& kernels_;
  std::vector<T> widened_;
};

}  // namespace longlora::ops::cpu
