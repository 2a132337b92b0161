// The pass over the layers of a decoder without gradients: evaluation, scoring and generation. Training,
// which needs gradients, walks them in train/engine.cpp.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>

#include "longlora/forward/attend.h"
#include "longlora/forward/layer_source.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/cross_entropy.h"

namespace longlora::forward {

/// The tokens of a pass: N in all, in `num_rows` rows of one length laid end to end.
struct Rows {
  at::Tensor ids;              // [N] int64
  model::Positions positions;  // of the N tokens; ids and positions are on the decoder's device
  int64_t num_rows = 1;
};

struct ForwardOptions {
  /// Tokens at a time of all but attention; 0: all. Fewer need less memory, and change results in their last
  /// bits alone.
  int64_t tile_rows = 0;
  /// How many tokens at the end of each row the pass returns hidden states for; empty: for all tokens. The
  /// last layer computes an output for these tokens alone. 0: for none; such a pass is made for the keys and
  /// values that it hands to `attend`.
  std::optional<int64_t> wanted_tokens = {};
};

/// Hidden states of the wanted tokens after the last layer, before the last norm: [num_rows · wanted, C].
/// Walks the layers that `source` brings, with the attention of `attend`. Outside autograd.
at::Tensor forward(const model::Decoder& decoder, const Rows& rows, Attend& attend, const LayerSource& source,
                   const ForwardOptions& options = {});

/// One layer of forward(), the `index`-th: hidden states [N, C] before it, which are best given up to it, and
/// those of the wanted tokens after it. Of `rows` the ids are not read.
at::Tensor run_layer(const model::Decoder& decoder, const model::Block& block, size_t index, const Rows& rows,
                     at::Tensor hidden, Attend& attend, const ForwardOptions& options);

struct LossOptions {
  int64_t tile_rows = 0;        // hidden states that are normed at a time; 0: all
  int64_t loss_chunk_rows = 0;  // as LinearCrossEntropyOptions::chunk_rows
  bool want_losses = false;     // as LinearCrossEntropyOptions::want_losses
};

/// The cross entropy of `labels` [M] given hidden states [M, C] of forward(): last norm, head and loss.
ops::LinearCrossEntropyResult cross_entropy(const model::Decoder& decoder, const at::Tensor& hidden,
                                            const at::Tensor& labels, const LayerSource& source,
                                            const LossOptions& options = {});

/// The logits [M, V], float32, of what follows each of the hidden states [M, C] of forward().
at::Tensor logits(const model::Decoder& decoder, const at::Tensor& hidden, const LayerSource& source);

}  // namespace longlora::forward
