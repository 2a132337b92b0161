// The pass over the layers of a decoder without gradients, which evaluation, scoring and generation run.
// Training needs gradients and walks the layers in train/engine.cpp.
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
  /// How many tokens go through everything but attention at a time; 0: all of them. Fewer need less memory,
  /// and change results in their last bits alone.
  int64_t tile_tokens = 0;
  /// How many tokens at the end of each row the pass returns hidden states for; empty: all of them. The last
  /// layer computes its output for these tokens alone. 0 asks for no hidden states at all: such a pass is
  /// made for the keys and values that it hands to `attend`.
  std::optional<int64_t> wanted_tokens = {};
};

/// Walks the layers that `source` brings, with the attention of `attend`, and returns the hidden states of
/// the wanted tokens after the last layer and before the last norm: [num_rows · wanted, C]. Autograd records
/// nothing.
at::Tensor forward(const model::Decoder& decoder, const Rows& rows, Attend& attend, const LayerSource& source,
                   const ForwardOptions& options = {});

/// Runs one layer of forward(), whose place among the layers is `index`, on the hidden states [N, C] before
/// it, and returns those of the wanted tokens after it. Move the argument into the call, so that its memory
/// can be reused. The ids of `rows` are not read.
at::Tensor run_layer(const model::Decoder& decoder, const model::Block& block, size_t index, const Rows& rows,
                     at::Tensor hidden, Attend& attend, const ForwardOptions& options);

struct LossOptions {
  int64_t tile_tokens = 0;      // how many hidden states are normed at a time; 0: all
  int64_t loss_chunk_rows = 0;  // as LinearCrossEntropyOptions::chunk_rows
  bool want_losses = false;     // as LinearCrossEntropyOptions::want_losses
};

/// Runs last norm, head and loss on hidden states [M, C] that forward() returned, and returns the cross
/// entropy of `labels` [M].
ops::LinearCrossEntropyResult cross_entropy(const model::Decoder& decoder, const at::Tensor& hidden,
                                            const at::Tensor& labels, const LayerSource& source,
                                            const LossOptions& options = {});

/// Returns the logits [M, V], float32, of the token that follows each of the hidden states [M, C] that
/// forward() returned.
at::Tensor logits(const model::Decoder& decoder, const at::Tensor& hidden, const LayerSource& source);

}  // namespace longlora::forward
