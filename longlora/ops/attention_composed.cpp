#include "longlora/ops/attention_paths.h"

namespace longlora::ops {
namespace {

// The fewest queries of a chunk. Fewer would make a small window slow.
constexpr int64_t kLeastChunkTokens = 256;

// `count` neighbouring segments of `length` tokens each, the first of which begins at `start`.
struct Run {
  int64_t start, count, length;

  // [N, heads, D] -> [count, heads, length, D]
  at::Tensor as_batch(const at::Tensor& x) const {
    return x.slice(0, start, start + count * length)
        .reshape({count, length, x.size(1), x.size(2)})
        .transpose(1, 2);
  }
  // [count, heads, length, D] -> [count · length, heads, D]
  at::Tensor as_rows(const at::Tensor& x) const {
    return x.transpose(1, 2).reshape({count * length, x.size(1), x.size(3)});
  }
};

// Computes causal attention for a run and the heads of one half.
at::Tensor attend_run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Run& run) {
  return run.as_rows(at::scaled_dot_product_attention(run.as_batch(q), run.as_batch(k), run.as_batch(v), {},
                                                      0.0, /*is_causal=*/true));
}

// As attend_run, under a sliding window that is smaller than a segment. Queries are taken in chunks, each
// with the keys that its queries see, so that no mask has length × length elements.
at::Tensor attend_run_in_window(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Run& run,
                                int64_t window) {
  const at::Tensor queries = run.as_batch(q), keys = run.as_batch(k), values = run.as_batch(v);
  const int64_t chunk = std::max(window, kLeastChunkTokens);
  std::vector<at::Tensor> outs;
  for (int64_t begin = 0; begin < run.length; begin += chunk) {
    const int64_t end = std::min(run.length, begin + chunk), first = std::max<int64_t>(0, begin - window + 1);
    const at::TensorOptions index = q.options().dtype(at::kLong);
    const at::Tensor places = at::arange(begin, end, index).unsqueeze(1),
                     key_places = at::arange(first, end, index).unsqueeze(0);
    const at::Tensor visible = key_places.le(places).logical_and(key_places.gt(places - window));
    outs.push_back(at::scaled_dot_product_attention(queries.slice(2, begin, end), keys.slice(2, first, end),
                                                    values.slice(2, first, end), visible));
  }
  return run.as_rows(at::cat(outs, 2));
}

}  // namespace

at::Tensor attention_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan) {
  if (!plan.has_all_queries()) return attention_in_place(q, k, v, plan);
  const int64_t heads = q.size(1), group = heads / k.size(1);
  std::vector<at::Tensor> halves;
  for (int half = 0; half < 2; ++half) {
    const int64_t first = half == 0 ? 0 : heads / 2;
    const int64_t last = half == 0 ? heads / 2 : heads;
    if (first == last) continue;
    const at::Tensor queries = q.slice(1, first, last);
    // The key/value head that each query head of this half reads.
    const at::Tensor map = at::arange(first, last, q.options().dtype(at::kLong)).floor_divide(group);
    const bool shared = group > 1;
    const int64_t kv_first = first / group;
    const at::Tensor keys = shared ? k.index_select(1, map) : k.slice(1, kv_first, kv_first + (last - first));
    const at::Tensor values =
        shared ? v.index_select(1, map) : v.slice(1, kv_first, kv_first + (last - first));
    const auto& bounds = plan.bounds[half];
    std::vector<at::Tensor> runs;
    for (int64_t i = 0; i + 1 < static_cast<int64_t>(bounds.size());) {
      const int64_t length = bounds[i + 1] - bounds[i];
      int64_t end = i + 1;
      while (end + 1 < static_cast<int64_t>(bounds.size()) && bounds[end + 1] - bounds[end] == length) ++end;
      const Run run = {bounds[i], end - i, length};
      const bool narrowed = plan.window_tokens > 0 && plan.window_tokens < length;
      runs.push_back(narrowed ? attend_run_in_window(queries, keys, values, run, plan.window_tokens)
                              : attend_run(queries, keys, values, run));
      i = end;
    }
    halves.push_back(runs.size() == 1 ? runs[0] : at::cat(runs, 0));
  }
  return halves.size() == 1 ? halves[0] : at::cat(halves, 1);
}

}  // namespace longlora::ops
