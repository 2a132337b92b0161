// How much memory a pass without gradients needs, and how it is cut into tiles where there is less.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "longlora/model/decoder.h"

namespace longlora::forward {

/// The pass that a plan is made for.
struct PassRequest {
  int64_t tokens = 0;      // N, how many go through the model at once
  int64_t row_tokens = 0;  // T of the longest row; 0: all tokens are one row
  /// How many hidden states go on to the head; empty: all of them.
  std::optional<int64_t> wanted_tokens = {};
  int64_t cache_tokens = 0;  // for how many a key/value cache beside the pass has room
  int64_t budget_bytes = 0;
  int64_t program_bytes = 0;  // what the process holds before it loads the model
  int64_t num_threads = 1;
  /// The weights that may stay in their files (streamable_weights), and below whether they are converted when
  /// their layer runs.
  std::set<std::string> streamable = {};
  bool copies = false;
};

/// How a pass is run, and its predicted peak in bytes.
struct PassPlan {
  bool fits = false;  // whether the predicted peak is within the budget
  bool weights_streamed = false;
  int64_t tile_tokens = 0;     // ForwardOptions::tile_tokens
  int64_t weights_bytes = 0;   // of weights in memory
  int64_t streamed_bytes = 0;  // of weights that are left in their files
  /// What tensors other than these weights hold at the peak. A key/value cache counts, and so do the weights
  /// of the one layer that is read from its file.
  int64_t pass_bytes = 0;
  int64_t program_bytes = 0;  // of the program, its libraries and their scratch memory

  int64_t total_bytes() const { return weights_bytes + pass_bytes + program_bytes; }
  /// "1.2 GiB (weights 900 MiB, …); tiles of 512 rows; …".
  std::string describe() const;
};

/// Predicts the memory for one choice: tiles of `tile_tokens` (0: all tokens at once), and whether the large
/// weights are left in their files (`streamed`). What tensors hold is measured on a layer without values
/// (measured_layer.h), so that the decoder's own tensors need none either.
PassPlan predict_pass(const model::Decoder& decoder, const PassRequest& request, int64_t tile_tokens,
                      bool streamed = false);

/// Plans a pass of a decoder, whose tensors need no values. Where the budget allows it, everything is in
/// memory and whole rows go through the layers. Otherwise tiles of tokens do, of falling size, and after that
/// weights are left in their files. Where nothing fits, the plan that takes the least is returned.
PassPlan plan_pass(const model::Decoder& decoder, const PassRequest& request);

}  // namespace longlora::forward
