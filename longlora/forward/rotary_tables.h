// The rotary tables of a decoder, shared by all that runs it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <mutex>

#include "longlora/model/decoder.h"
#include "longlora/model/rotary.h"

namespace longlora::forward {

/// Makes the tables of one decoder on the decoder's device and keeps the longest, or where the angles depend
/// on the length of the sequence the last. Thread-safe.
class RotaryTables {
 public:
  /// The decoder must outlive it, and keep its rotary scaling.
  explicit RotaryTables(const model::Decoder& decoder) : decoder_(decoder) {}

  /// Makes the table at once for all places below `num_places`; later ones would make it longer.
  void reserve(int64_t num_places);

  /// The places index [N] int64, each below `sequence_tokens`, of tokens in a sequence of that length.
  model::Positions places(const at::Tensor& index, int64_t sequence_tokens);
  /// `num_rows` rows of `row_tokens` tokens, each from its first place on.
  model::Positions rows(int64_t num_rows, int64_t row_tokens);
  /// The `count` places from `first` on in a sequence of `sequence_tokens`. Where angles depend on the length
  /// only these are computed.
  model::Positions range(int64_t first, int64_t count, int64_t sequence_tokens);

 private:
  /// Rows [0, at least num_places), for a sequence of `num_places` where that matters.
  model::RotaryTable table(int64_t num_places);
  model::RotaryTable make(const model::RotaryRange& range) const;
  at::Device device() const { return decoder_.embed_tokens.value.device(); }
  bool depends_on_length() const { return model::depends_on_length(decoder_.config.rope_scaling.type); }

  const model::Decoder& decoder_;
  std::mutex mutex_;
  model::RotaryTable kept_;
};

}  // namespace longlora::forward
