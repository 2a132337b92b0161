// Who attends to whom in a pass over the layers.
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <map>

#include "longlora/model/decoder.h"
#include "longlora/ops/attention.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::forward {

/// The attention of a pass, called once for each layer, in order. An implementation knows where the keys lie
/// and says by an ops::AttentionPlan who sees them: Segments, for whole rows; generate::Cached, for tokens
/// that follow others.
class Attend {
 public:
  virtual ~Attend() = default;

  /// The values that each query of a layer reads: [M, H, D], contiguous, for rotated queries q [M, H, D] and
  /// keys and values k, v [N, K, D] of the N tokens of the pass. M is N, or less in the last layer where
  /// fewer results are wanted: then q has the queries of the last tokens of each row, and may have none at
  /// all. `window_tokens`: of the layer's sliding window; 0: none.
  virtual at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv) = 0;
};

/// Causal attention inside the segments of a batch: all rows are there from their first token on. Not
/// thread-safe.
class Segments : public Attend {
 public:
  /// `plan` has a query of every token and must outlive it. Where only the last tokens of rows are wanted,
  /// its segments are to be whole rows of one length.
  explicit Segments(const ops::AttentionPlan& plan) : plan_(plan) {}

  at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv) override;

  /// The same for all queries, differentiable; `kept` as in ops::attention.
  at::Tensor attend_all(int64_t window_tokens, const model::QueryKeyValue& qkv, ops::KeptAttention* kept);

 private:
  const ops::AttentionPlan& plan_for(int64_t window_tokens);

  const ops::AttentionPlan& plan_;
  std::map<int64_t, ops::AttentionPlan> windowed_;  // by the layers' windows
};

/// Of x [N, …], `num_rows` rows laid end to end, the last `tokens` places of each row: [num_rows · tokens,
/// …].
at::Tensor tail_of_rows(const at::Tensor& x, int64_t num_rows, int64_t tokens);

}  // namespace longlora::forward
