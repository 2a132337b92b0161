#include "longlora/ops/segment_attention_paths.h"

namespace longlora::ops {
namespace {

/// Causal attention of `count` segments of `length` tokens from `start` on, for heads of one half.
at::Tensor attend_run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t start,
                      int64_t count, int64_t length) {
  // [count · length, heads, D] -> [count, heads, length, D]
  const auto as_batch = [&](const at::Tensor& x) {
    return x.slice(0, start, start + count * length)
        .reshape({count, length, x.size(1), x.size(2)})
        .transpose(1, 2);
  };
  const at::Tensor out = at::scaled_dot_product_attention(as_batch(q), as_batch(k), as_batch(v), {}, 0.0,
                                                          /*is_causal=*/true);
  return out.transpose(1, 2).reshape({count * length, q.size(1), q.size(2)});
}

}  // namespace

at::Tensor segment_attention_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SegmentPlan& plan) {
  const int64_t heads = q.size(1), group = heads / k.size(1);
  std::vector<at::Tensor> halves;
  for (int half = 0; half < 2; ++half) {
    const int64_t first = half == 0 ? 0 : heads / 2;
    const int64_t last = half == 0 ? heads / 2 : heads;
    if (first == last) continue;
    const at::Tensor queries = q.slice(1, first, last);
    // One key/value head for each query head of this half.
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
      runs.push_back(attend_run(queries, keys, values, bounds[i], end - i, length));
      i = end;
    }
    halves.push_back(runs.size() == 1 ? runs[0] : at::cat(runs, 0));
  }
  return halves.size() == 1 ? halves[0] : at::cat(halves, 1);
}

}  // namespace longlora::ops
