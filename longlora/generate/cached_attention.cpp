#include "longlora/generate/cached_attention.h"

#include "longlora/ops/attention.h"

namespace longlora::generate {

at::Tensor Cached::attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                          ops::KeptAttention* kept) {
  cache_.store(layer, qkv.k, qkv.v);
  if (qkv.q.size(0) == 0) return at::empty_like(qkv.q);
  const KeyValueView view = cache_.view(layer);
  const ops::AttentionPlan all =
      ops::make_segment_plan({.row_tokens = view.keys.size(1), .window_tokens = window_tokens});
  return ops::attention(qkv.q, view.keys.transpose(0, 1), view.values.transpose(0, 1),
                        ops::last_tokens(all, qkv.q.size(0)), kept);
}

}  // namespace longlora::generate
