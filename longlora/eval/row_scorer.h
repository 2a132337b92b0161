// Scores whole rows with a decoder, without gradients and without a cache.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>

#include "longlora/forward/ready_decoder.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/cross_entropy.h"

namespace longlora::eval {

/// Throws InputError where a loss in `result` (of RowScorer::score, for rows of `row_tokens`) is not finite.
/// `place` says which loss it is.
void require_finite(const ops::LinearCrossEntropyResult& result, const model::Decoder& decoder,
                    int64_t row_tokens, const std::function<std::string(int64_t row, int64_t token)>& place);

/// Scores rows with one decoder. Immutable; thread-safe.
class RowScorer {
 public:
  /// No row may have more than `max_row_tokens` tokens.
  RowScorer(const forward::ReadyDecoder& ready, int64_t max_row_tokens);

  /// The cross entropy of `labels` given the tokens before them in their row. Attention is full inside each
  /// row, within the layer's sliding window. ids and labels are [B, T] int64 on the CPU; label n is the id
  /// that should follow id n, or ops::kIgnoreLabel. The result's `losses` are [B · T]. Throws Error for T
  /// beyond max_row_tokens; ids must lie inside the vocabulary.
  ops::LinearCrossEntropyResult score(const at::Tensor& ids, const at::Tensor& labels) const;

  const model::Decoder& decoder() const { return ready_.decoder; }

 private:
  forward::ReadyDecoder ready_;
  int64_t max_row_tokens_;
};

}  // namespace longlora::eval
