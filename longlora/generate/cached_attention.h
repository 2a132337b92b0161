// The attention of new tokens over all that a cache holds.
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>

#include "longlora/forward/attend.h"
#include "longlora/generate/kv_cache.h"

namespace longlora::generate {

/// The attention of a pass over tokens that follow those of a cache. It stores a layer's keys and values, and
/// each query sees what the cache holds up to the query's own token; a layer with a window limits how many
/// tokens that are. One object serves the pass after one KeyValueCache::extend().
class Cached : public forward::Attend {
 public:
  /// `cache` must outlive this object and have room made for the tokens of the pass.
  explicit Cached(KeyValueCache& cache) : cache_(cache) {}

  at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                    ops::KeptAttention* kept) override;

 private:
  KeyValueCache& cache_;
};

}  // namespace longlora::generate
