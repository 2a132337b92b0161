// Attention of new tokens over all that a cache holds.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/generate/kv_cache.h"

namespace longlora::generate {

/// Queries are taken in blocks whose mask stays below this.
constexpr int64_t kMaskBytes = int64_t{64} << 20;

/// softmax(q kᵀ / sqrt(D)) v where query n of N, the last N of the view's S
/// tokens, sees the first S - N + n + 1 of them. q [N, H, D] in the view's dtype
/// and device; K divides H and query head h reads key/value head h / (H / K),
/// whose keys are not repeated. The softmax is in float32 whatever the dtype.
/// Returns [N, H, D], contiguous. Throws Error on shapes that do not fit.
at::Tensor cached_attention(const at::Tensor& q, const KeyValueView& view, int64_t mask_bytes = kMaskBytes);

}  // namespace longlora::generate
