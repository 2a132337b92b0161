#include "longlora/forward/attend.h"

#include <vector>

namespace longlora::forward {
namespace {

/// Attention of the last queries of each row where no kernel takes them alone: the missing queries are zeros.
at::Tensor attend_padded(const model::QueryKeyValue& qkv, const ops::SegmentPlan& plan, int64_t num_rows) {
  const int64_t row_tokens = qkv.k.size(0) / num_rows, wanted = qkv.q.size(0) / num_rows;
  const int64_t heads = qkv.q.size(1), head_dim = qkv.q.size(2);
  const at::Tensor q = at::zeros({num_rows, row_tokens, heads, head_dim}, qkv.q.options());
  q.slice(1, row_tokens - wanted).copy_(qkv.q.reshape({num_rows, wanted, heads, head_dim}));
  const at::Tensor all = ops::segment_attention(q.view({-1, heads, head_dim}), qkv.k, qkv.v, plan);
  return tail_of_rows(all, num_rows, wanted).contiguous();
}

}  // namespace

const ops::SegmentPlan& Segments::plan_for(int64_t window_tokens) {
  if (window_tokens == 0) return plan_;
  auto found = windowed_.find(window_tokens);
  if (found == windowed_.end())
    found = windowed_.emplace(window_tokens, ops::with_window(plan_, window_tokens)).first;
  return found->second;
}

at::Tensor Segments::attend_all(int64_t window_tokens, const model::QueryKeyValue& qkv,
                                ops::KeptAttention* kept) {
  return ops::segment_attention(qkv.q, qkv.k, qkv.v, plan_for(window_tokens), kept);
}

at::Tensor Segments::attend(size_t /*layer*/, int64_t window_tokens, const model::QueryKeyValue& qkv) {
  if (qkv.q.size(0) == qkv.k.size(0)) return attend_all(window_tokens, qkv, nullptr);
  if (qkv.q.size(0) == 0) return at::empty_like(qkv.q);
  if (!ops::has_tail_attention(qkv.q)) return attend_padded(qkv, plan_for(window_tokens), num_rows_);
  return ops::tail_attention(qkv.q, qkv.k, qkv.v, num_rows_, window_tokens);
}

at::Tensor tail_of_rows(const at::Tensor& x, int64_t num_rows, int64_t tokens) {
  const int64_t row_tokens = x.size(0) / num_rows;
  if (tokens == row_tokens) return x;
  std::vector<int64_t> by_row = {num_rows, row_tokens}, joined = {num_rows * tokens};
  by_row.insert(by_row.end(), x.sizes().begin() + 1, x.sizes().end());
  joined.insert(joined.end(), x.sizes().begin() + 1, x.sizes().end());
  return x.reshape(by_row).slice(1, row_tokens - tokens).reshape(joined);
}

}  // namespace longlora::forward
