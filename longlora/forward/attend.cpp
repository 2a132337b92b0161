#include "longlora/forward/attend.h"

#include <vector>

namespace longlora::forward {
const ops::AttentionPlan& Segments::plan_for(int64_t window_tokens) {
  if (window_tokens == 0) return plan_;
  auto found = windowed_.find(window_tokens);
  if (found == windowed_.end())
    found = windowed_.emplace(window_tokens, ops::with_window(plan_, window_tokens)).first;
  return found->second;
}

at::Tensor Segments::attend(size_t /*layer*/, int64_t window_tokens, const model::QueryKeyValue& qkv,
                            ops::KeptAttention* kept) {
  const ops::AttentionPlan& all = plan_for(window_tokens);
  if (qkv.q.size(0) == qkv.k.size(0)) return ops::attention(qkv.q, qkv.k, qkv.v, all, kept);
  if (qkv.q.size(0) == 0) return at::empty_like(qkv.q);
  return ops::attention(qkv.q, qkv.k, qkv.v, ops::last_tokens(all, qkv.q.size(0) / all.num_segments(0)));
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
