// A decoder with everything that a pass over it needs, except the input.
#pragma once

#include <cstdint>
#include <memory>

#include "longlora/forward/layer_source.h"
#include "longlora/forward/rotary_tables.h"
#include "longlora/model/decoder.h"

namespace longlora::forward {

/// What evaluation and generation are given to run. The decoder must outlive it. Copies share everything.
/// Several threads may use it at once.
struct ReadyDecoder {
  /// The defaults are for a decoder whose weights are all in memory and which is run on whole rows. Such a
  /// decoder is ready as it is, so that this conversion is implicit.
  ReadyDecoder(const model::Decoder& decoder_to_run,
               std::shared_ptr<const LayerSource> layer_source = resident(), int64_t rows_of_a_tile = 0)
      : decoder(decoder_to_run),
        source(std::move(layer_source)),
        rotary(std::make_shared<RotaryTables>(decoder_to_run)),
        tile_tokens(rows_of_a_tile) {}

  const model::Decoder& decoder;
  std::shared_ptr<const LayerSource> source;
  std::shared_ptr<RotaryTables> rotary;
  int64_t tile_tokens;  // what passes take as ForwardOptions::tile_tokens
};

}  // namespace longlora::forward
