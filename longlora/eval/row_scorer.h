// Whole rows through a decoder without gradients and without a cache.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>

#include "longlora/forward/ready_decoder.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/cross_entropy.h"

namespace longlora::eval {

/// Throws InputError where a loss of `result` (RowScorer::score, rows of `row_tokens`) is not finite; `place`
/// says which one it is.
void require_finite(const ops::LinearCrossEntropyResult& result, const model::Decoder& decoder,
                    int64_t row_tokens, const std::function<std::string(int64_t row, int64_t token)>& place);

/// Rows through one decoder. Immutable; thread-safe.
class RowScorer {
 public:
  /// Rows have at most `max_row_tokens` tokens.
  RowScorer(const forward::ReadyDecoder& ready, int64_t max_row_tokens);

  /// The cross entropy of `labels` given the rows before them, full attention
  /// (within the layer's sliding window) inside each row: ids and labels [B, T] int64 on the CPU, label n is
  /// what should follow id n or ops::kIgnoreLabel. `losses` of the result is [B · T]. Throws Error for T
  /// beyond max_row_tokens; ids must lie inside the vocabulary.
  ops::LinearCrossEntropyResult score(const at::Tensor& ids, const at::Tensor& labels) const;

  const model::Decoder& decoder() const { return ready_.decoder; }

 private:
  forward::ReadyDecoder ready_;
  int64_t max_row_tokens_;
};

}  // namespace longlora::eval
