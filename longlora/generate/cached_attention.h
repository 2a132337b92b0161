// Attention of new tokens over all that a cache holds.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/forward/attend.h"
#include "longlora/generate/kv_cache.h"

namespace longlora::generate {

struct CachedAttentionOptions {
  /// Of the tokens up to itself a query sees at most so many; 0: all.
  int64_t window_tokens = 0;
  /// Queries are taken in blocks whose mask stays below this.
  int64_t mask_bytes = int64_t{64} << 20;
};

/// softmax(q kᵀ / sqrt(D)) v where query n of N, the last N of the view's S
/// tokens, sees the first S - N + n + 1 of them. q [N, H, D] in the view's dtype
/// and device; K divides H and query head h reads key/value head h / (H / K),
/// whose keys are not repeated. The softmax is in float32 whatever the dtype.
/// Returns [N, H, D], contiguous. Throws Error on shapes that do not fit.
at::Tensor cached_attention(const at::Tensor& q, const KeyValueView& view,
                            const CachedAttentionOptions& options = {});

/// The attention of a pass over tokens that follow those of a cache: a layer's keys and values are stored,
/// and each query sees all that the cache holds up to it. One for each KeyValueCache::extend().
class Cached : public forward::Attend {
 public:
  /// `cache` must outlive it, and has room made for the tokens of the pass. `from_empty`: it holds no others.
  Cached(KeyValueCache& cache, bool from_empty) : cache_(cache), from_empty_(from_empty) {}

  at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv) override;

 private:
  KeyValueCache& cache_;
  bool from_empty_;
};

}  // namespace longlora::generate
