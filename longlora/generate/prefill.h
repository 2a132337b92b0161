// Reading a prompt chunk by chunk, in steps so small that others can have their turn between them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "longlora/forward/forward.h"
#include "longlora/forward/ready_decoder.h"
#include "longlora/generate/paged_sequence.h"

namespace longlora::generate {

/// A chunk of tokens on its way through the layers.
class ChunkWalk {
 public:
  /// The tokens `ids` follow those of `sequence`, which has room for them; they are counted at once. The
  /// whole text that they belong to has `text_tokens` tokens, on which some rotary scalings depend. Where
  /// `wants_hidden`, the last token's hidden state is computed, else the chunk is read for its keys and
  /// values alone.
  ChunkWalk(const forward::ReadyDecoder& ready, PagedSequence& sequence, const ops::PageShape& shape,
            std::span<const int64_t> ids, int64_t text_tokens, bool wants_hidden);

  /// Runs the next layer. Returns whether more follow.
  bool run_layer();
  /// The share of the layers that the chunk has gone through.
  double share_done() const;
  int64_t num_tokens() const { return count_; }
  /// The logits [V], float32, of what follows the last token, once all layers have run.
  at::Tensor logits() const;

 private:
  const forward::ReadyDecoder& ready_;
  int64_t count_;
  PagedAttend attend_;
  forward::Rows rows_;
  at::Tensor hidden_;
  size_t layer_ = 0;
  bool wants_hidden_;
};

}  // namespace longlora::generate
