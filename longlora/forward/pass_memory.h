// What a pass without gradients needs in memory, and how it is cut up where that is more than there is.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "longlora/model/decoder.h"

namespace longlora::forward {

/// What a plan is made for.
struct PassRequest {
  int64_t tokens = 0;      // N that go through the model at once
  int64_t row_tokens = 0;  // T of the longest row; 0: one row
  /// Hidden states that go on to the head; empty: all.
  std::optional<int64_t> wanted_tokens = {};
  int64_t cache_tokens = 0;  // that there is room for in a key/value cache beside the pass
  int64_t budget_bytes = 0;
  int64_t program_bytes = 0;  // that the process holds before the model is there
  int64_t num_threads = 1;
  /// Weights that may stay in their files (streamable_weights), and whether they are converted when their
  /// layer runs.
  std::set<std::string> streamable = {};
  bool copies = false;
};

/// How a pass is run, and its predicted peak in bytes.
struct PassPlan {
  bool fits = false;  // in the budget
  bool weights_streamed = false;
  int64_t tile_rows = 0;       // ForwardOptions::tile_rows
  int64_t weights_bytes = 0;   // that are in memory
  int64_t streamed_bytes = 0;  // left in their files
  /// The rest of what tensors hold when most is held, a cache and the layer in reach included.
  int64_t pass_bytes = 0;
  int64_t program_bytes = 0;  // the program, its libraries and their scratch memory

  int64_t total_bytes() const { return weights_bytes + pass_bytes + program_bytes; }
  /// "1.2 GiB (weights 900 MiB, …); tiles of 512 rows; …".
  std::string describe() const;
};

/// The prediction for one choice: tiles of `tile_rows` (0: all rows at once), the large weights left in their
/// files where `streamed`. What tensors hold is measured on a layer without values (measured_layer.h), so the
/// decoder's tensors need none either.
PassPlan predict_pass(const model::Decoder& decoder, const PassRequest& request, int64_t tile_rows,
                      bool streamed = false);

/// Plans for a decoder whose tensors need no values. Everything is in memory and whole rows go through the
/// layers where that fits; else tiles of rows, smaller ones, and then the same with weights left in their
/// files. Where nothing fits it is what takes the least.
PassPlan plan_pass(const model::Decoder& decoder, const PassRequest& request);

}  // namespace longlora::forward
