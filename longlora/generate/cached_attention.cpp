#include "longlora/generate/cached_attention.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "longlora/core/error.h"
#include "longlora/ops/segment_attention.h"

namespace longlora::generate {
namespace {

/// Attention of queries [n, H, D] whose first has place `place`; all_keys and
/// all_values [K, >= place + n, D]. Query heads that share a key/value head become
/// further queries of that head.
at::Tensor attend_block(const at::Tensor& q, const at::Tensor& all_keys, const at::Tensor& all_values,
                        int64_t place, int64_t window) {
  // What the first query sees first; nothing before it is read.
  const int64_t oldest = window > 0 ? std::max<int64_t>(0, place - window + 1) : 0;
  const at::Tensor keys = all_keys.slice(1, oldest, place + q.size(0)),
                   values = all_values.slice(1, oldest, place + q.size(0));
  const int64_t count = q.size(0), heads = q.size(1), head_dim = q.size(2);
  const int64_t kv_heads = keys.size(0), group = heads / kv_heads;
  const at::Tensor queries = q.reshape({count, kv_heads, group, head_dim})
                                 .permute({1, 2, 0, 3})
                                 .reshape({1, kv_heads, group * count, head_dim});
  std::optional<at::Tensor> visible;  // a single new token sees all of these
  if (count > 1) {
    const at::TensorOptions index = q.options().dtype(at::kLong);
    const at::Tensor last_seen = at::arange(place, place + count, index).repeat({group}).unsqueeze(1);
    const at::Tensor places = at::arange(oldest, place + count, index).unsqueeze(0);
    visible = places.le(last_seen);
    if (window > 0) visible = visible->logical_and(places.gt(last_seen - window));
  }
  const at::Tensor out =
      at::scaled_dot_product_attention(queries, keys.unsqueeze(0), values.unsqueeze(0), visible);
  return out.reshape({kv_heads, group, count, head_dim})
      .permute({2, 0, 1, 3})
      .reshape({count, heads, head_dim});
}

}  // namespace

at::Tensor cached_attention(const at::Tensor& q, const KeyValueView& view,
                            const CachedAttentionOptions& options) {
  const at::Tensor &keys = view.keys, &values = view.values;
  const bool fits = q.dim() == 3 && keys.dim() == 3 && keys.sizes() == values.sizes() &&
                    q.size(2) == keys.size(2) && keys.size(0) > 0 && q.size(1) % keys.size(0) == 0 &&
                    q.size(0) > 0 && q.size(0) <= keys.size(1);
  if (!fits)
    throw Error(
        fmt::format("[cached attention] expected q [N, H, D], keys and values [K, S, D] with K dividing H "
                    "and 0 < N <= S, got {} and {}",
                    fmt::join(q.sizes(), " × "), fmt::join(keys.sizes(), " × ")));
  const int64_t count = q.size(0), total = keys.size(1), group = q.size(1) / keys.size(0);
  const int64_t past = total - count;
  // Fewer queries would leave most of the kernel's blocks empty.
  constexpr int64_t kLeastQueries = 16;
  if (count >= kLeastQueries && ops::has_tail_attention(q))
    return ops::tail_attention(q, keys.transpose(0, 1), values.transpose(0, 1), 1, options.window_tokens);
  // The mask becomes one float for every (query, key) pair.
  const int64_t block = std::clamp<int64_t>(options.mask_bytes / (group * total * 4), 1, count);
  const int64_t window = options.window_tokens;
  if (block == count) return attend_block(q, keys, values, past, window).contiguous();
  at::Tensor out = at::empty_like(q, q.options(), at::MemoryFormat::Contiguous);
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t end = std::min(count, begin + block);
    out.slice(0, begin, end).copy_(attend_block(q.slice(0, begin, end), keys, values, past + begin, window));
  }
  return out;
}

at::Tensor Cached::attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv) {
  cache_.store(layer, qkv.k, qkv.v);
  if (qkv.q.size(0) == 0) return at::empty_like(qkv.q);
  // With nothing before them the tokens see only each other.
  if (from_empty_ && qkv.q.size(0) == qkv.k.size(0)) {
    const ops::SegmentPlan plan =
        ops::make_segment_plan({.num_rows = 1, .row_tokens = qkv.q.size(0), .window_tokens = window_tokens});
    return ops::segment_attention(qkv.q, qkv.k, qkv.v, plan);
  }
  return cached_attention(qkv.q, cache_.view(layer), {.window_tokens = window_tokens});
}

}  // namespace longlora::generate
