// The rotary tables of a decoder, which all passes over it share.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <mutex>

#include "longlora/model/decoder.h"
#include "longlora/model/rotary.h"

namespace longlora::forward {

/// Makes the tables of one decoder on the decoder's device. It keeps the longest one, or where the angles
/// depend on the length of the sequence, the last one. Thread-safe.
class RotaryTables {
 public:
  /// The decoder must outlive this object, and its rotary scaling must not change.
  explicit RotaryTables(const model::Decoder& decoder) : decoder_(decoder) {}

  /// Makes the table for all places below `num_places` now, so that it need not grow later.
  void reserve(int64_t num_places);

  /// Returns the positions of tokens whose places are `index`: [N] int64, each below `sequence_tokens`, the
  /// length of their sequence.
  model::Positions places(const at::Tensor& index, int64_t sequence_tokens);
  /// Returns the positions of the tokens of `num_rows` rows of `row_tokens` tokens, each of which begins at
  /// place 0.
  model::Positions rows(int64_t num_rows, int64_t row_tokens);
  /// Returns the positions of `count` tokens from place `first` on in a sequence of `sequence_tokens`. Where
  /// the angles depend on the length of the sequence, only those of these places are computed.
  model::Positions range(int64_t first, int64_t count, int64_t sequence_tokens);

 private:
  /// Returns a table with a row for each place below `num_places`, or more. Where the angles depend on the
  /// length of the sequence, they are those of one of `num_places`.
  model::RotaryTable table(int64_t num_places);
  model::RotaryTable make(const model::RotaryRange& range) const;
  at::Device device() const { return decoder_.embed_tokens.value.device(); }
  bool depends_on_length() const { return model::depends_on_length(decoder_.config.rope_scaling.type); }

  const model::Decoder& decoder_;
  std::mutex mutex_;
  model::RotaryTable kept_;
};

}  // namespace longlora::forward
