#include <algorithm>
#include <optional>
#include <vector>

#include "longlora/ops/attention_paths.h"

namespace longlora::ops {
namespace {

// Computes attention for queries [n, H, D], the first of which belongs to token `place` of keys and values
// [N, K, D]. A query sees the tokens from `first` to its own; under a window, the last `window` of these.
at::Tensor attend_block(const at::Tensor& q, const at::Tensor& all_keys, const at::Tensor& all_values,
                        int64_t first, int64_t place, int64_t window) {
  const int64_t count = q.size(0), heads = q.size(1), head_dim = q.size(2);
  // The first token that the first query sees. No earlier token is read.
  const int64_t oldest = window > 0 ? std::max(first, place - window + 1) : first;
  const at::Tensor keys = all_keys.slice(0, oldest, place + count).transpose(0, 1),
                   values = all_values.slice(0, oldest, place + count).transpose(0, 1);
  const int64_t kv_heads = keys.size(0), group = heads / kv_heads;
  const at::Tensor queries = q.reshape({count, kv_heads, group, head_dim})
                                 .permute({1, 2, 0, 3})
                                 .reshape({1, kv_heads, group * count, head_dim});
  std::optional<at::Tensor> visible;  // a single query sees all keys, and needs no mask
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

at::Tensor joined(const std::vector<at::Tensor>& parts, int64_t dimension) {
  return parts.size() == 1 ? parts[0] : at::cat(parts, dimension);
}

// Returns heads [begin, end) of x [N, heads, D].
at::Tensor heads_of(const at::Tensor& x, int64_t begin, int64_t end) {
  return end - begin == x.size(1) ? x : x.slice(1, begin, end);
}

}  // namespace

at::Tensor attention_in_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan, int64_t mask_bytes) {
  std::vector<at::Tensor> ranges;
  for (const HeadRange& heads : head_ranges(plan, q.size(1), k.size(1))) {
    const int64_t group = (heads.end - heads.begin) / (heads.kv_end - heads.kv_begin);
    const at::Tensor queries = heads_of(q, heads.begin, heads.end),
                     keys = heads_of(k, heads.kv_begin, heads.kv_end),
                     values = heads_of(v, heads.kv_begin, heads.kv_end);
    std::vector<at::Tensor> blocks;
    for (int64_t i = 0; i < plan.num_segments(heads.half); ++i) {
      const auto [begin, end, first_query, last_query] = plan.segment(heads.half, i);
      // libtorch turns the mask into a float for every pair of a query and a key.
      const int64_t block = std::max<int64_t>(1, mask_bytes / (group * (end - begin) * 4));
      for (int64_t row = first_query; row < last_query; row += block)
        blocks.push_back(attend_block(queries.slice(0, row, std::min(last_query, row + block)), keys, values,
                                      begin, end - (last_query - row), plan.window_tokens));
    }
    ranges.push_back(joined(blocks, 0));
  }
  return joined(ranges, 1).contiguous();
}

bool is_best_in_place(const at::Tensor& k, const AttentionPlan& plan) {
  constexpr int64_t kFewQueries = 16;
  return !plan.has_all_queries() && plan.num_queries() < kFewQueries && k.stride(0) < k.stride(1);
}

}  // namespace longlora::ops
