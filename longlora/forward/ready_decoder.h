// A decoder with all that a pass over it needs beside its input.
#pragma once

#include <cstdint>
#include <memory>

#include "longlora/forward/layer_source.h"
#include "longlora/forward/rotary_tables.h"
#include "longlora/model/decoder.h"

namespace longlora::forward {

/// What evaluation and generation are given to run. The decoder must outlive it; copies share everything. To
/// be used from several threads at once.
struct ReadyDecoder {
  /// By default a decoder whose weights are all in memory, run on whole rows. The conversion is implicit:
  /// such a decoder is ready as it is.
  ReadyDecoder(const model::Decoder& decoder_to_run,
               std::shared_ptr<const LayerSource> layer_source = resident(), int64_t rows_of_a_tile = 0)
      : decoder(decoder_to_run),
        source(std::move(layer_source)),
        rotary(std::make_shared<RotaryTables>(decoder_to_run)),
        tile_rows(rows_of_a_tile) {}

  const model::Decoder& decoder;
  std::shared_ptr<const LayerSource> source;
  std::shared_ptr<RotaryTables> rotary;
  int64_t tile_rows;  // ForwardOptions::tile_rows of its passes
};

}  // namespace longlora::forward
