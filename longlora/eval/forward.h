// Whole rows through a decoder without gradients and without a cache.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>

#include "longlora/model/decoder.h"
#include "longlora/ops/cross_entropy.h"

namespace longlora::eval {

/// Throws InputError where a loss of `result` (RowScorer::score, rows of `row_tokens`) is not finite; `place`
/// says which one it is.
void require_finite(const ops::LinearCrossEntropyResult& result, const model::Decoder& decoder,
                    int64_t row_tokens, const std::function<std::string(int64_t row, int64_t token)>& place);

/// Rows through one decoder, which must outlive it. Immutable; thread-safe.
class RowScorer {
 public:
  /// Rotary tables reach `max_row_tokens`.
  RowScorer(const model::Decoder& decoder, int64_t max_row_tokens);

  /// The cross entropy of `labels` given the rows before them, full attention
  /// (within the layer's sliding window) inside each row: ids and labels [B, T] int64 on the CPU, label n is
  /// what should follow id n or ops::kIgnoreLabel. `losses` of the result is [B · T]. Throws Error for T
  /// beyond the tables; ids must lie inside the vocabulary.
  ops::LinearCrossEntropyResult score(const at::Tensor& ids, const at::Tensor& labels) const;

  const model::Decoder& decoder() const { return decoder_; }

 private:
  model::RotaryTable rotary_table(int64_t row_tokens) const;
  /// The last block for the places from `first` on of each row: nothing reads the others.
  /// hidden [B · T, C]; returns [B · (T − first), C].
  at::Tensor last_block(const at::Tensor& hidden, const model::Positions& positions,
                        const ops::SegmentPlan& plan, int64_t rows, int64_t first) const;

  const model::Decoder& decoder_;
  model::RotaryTable rotary_;
};

}  // namespace longlora::eval
