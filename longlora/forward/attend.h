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

/// The attention of a pass, which is called once for each layer, in order. An implementation knows where the
/// keys lie and says by an ops::AttentionPlan who sees them. There are two: Segments, for whole rows, and
/// generate::Cached, for tokens that continue a sequence whose earlier keys and values are cached. Passes of
/// training (train::LayerPass) and passes without gradients (forward()) call it alike.
class Attend {
 public:
  virtual ~Attend() = default;

  /// Returns the result of attention for each query of a layer: [M, H, D], contiguous, for rotated queries q
  /// [M, H, D] and keys and values k, v [N, K, D] of the N tokens of the pass. M is N, except in the last
  /// layer where fewer results are wanted: there q has the queries of the last tokens of each row alone, and
  /// may be empty. `window_tokens` is the width of the layer's sliding window; 0: the layer has none.
  /// Where autograd records, the result is differentiable if every token has a query. `kept` is what
  /// ops::attention takes; null: nothing is kept.
  virtual at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                            ops::KeptAttention* kept) = 0;
};

/// Causal attention inside the segments of a batch of whole rows, each of which is in the pass from its first
/// token on. Not thread-safe.
class Segments : public Attend {
 public:
  /// `plan` has a query for every token, and must outlive this object. A pass that wants only the last tokens
  /// of rows needs a plan whose segments are whole rows of one length.
  explicit Segments(const ops::AttentionPlan& plan) : plan_(plan) {}

  at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                    ops::KeptAttention* kept) override;

 private:
  const ops::AttentionPlan& plan_for(int64_t window_tokens);

  const ops::AttentionPlan& plan_;
  std::map<int64_t, ops::AttentionPlan> windowed_;  // the plan for each width of a window that a layer has
};

/// Returns the last `tokens` places of each row of x [N, …], which holds `num_rows` rows of one length laid
/// end to end: [num_rows · tokens, …].
at::Tensor tail_of_rows(const at::Tensor& x, int64_t num_rows, int64_t tokens);

}  // namespace longlora::forward
