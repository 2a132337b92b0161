// The output directory of a run: checkpoints as transactions, the log, the
// final model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "longlora/core/json.h"
#include "longlora/model/decoder.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/options.h"

namespace longlora::train {

/// Where a run stands; together with masters and moments all that resuming needs.
struct RunState {
  int64_t step = 0;           // updates done
  int64_t rows_consumed = 0;  // position in the row order
  int64_t tokens = 0;
  double seconds = 0.0;  // training time so far
  // What else decides the bits of the rest; 0: not recorded.
  int64_t data_tokens = 0;            // ids of the training data
  int64_t num_threads = 0;            // that sums are split over
  std::string data_fingerprint = {};  // of the training rows
  int64_t tile_rows = -1;             // and rows of a tile, 0 for all; below 0: not recorded
  int64_t loss_chunk_rows = 0;
};

/// Files of one run under options.output_dir. A checkpoint is written aside,
/// synced and renamed, so every checkpoint-N that exists is whole.
class RunDirectory {
 public:
  /// Creates the directory when missing. An overwriting run removes the
  /// checkpoints and the result of the earlier one, whose parts must not be
  /// taken for its own. Throws UsageError when the directory holds checkpoints
  /// and the options ask neither to resume nor to overwrite; ResourceError when
  /// it cannot be written.
  explicit RunDirectory(const TrainOptions& options);

  /// Restores the newest checkpoint; nullopt when there is none. Throws
  /// InputError when it belongs to a run with other options, naming them.
  std::optional<RunState> restore(AdamW& optimizer);

  /// Writes checkpoint-STEP (model files as in write_model, optimizer.safetensors,
  /// trainer_state.json) and removes the oldest beyond save_total_limit.
  void save(const RunState& state, AdamW& optimizer, const model::Decoder& decoder);

  /// The result: a PEFT adapter with trained parameters and config.json, or a
  /// whole Hugging Face directory; tokenizer files beside it.
  void write_model(const model::Decoder& decoder, const std::filesystem::path& directory) const;

  /// Appends one line to train_log.jsonl, the whole line or (ResourceError) nothing of it.
  void log(const Json& line);
  /// Drops lines of steps after `step` (a resumed run writes them again).
  void truncate_log(int64_t step);

  /// Largest N of the checkpoint-N present.
  std::optional<int64_t> newest_checkpoint() const;

 private:
  std::vector<int64_t> checkpoints() const;
  std::filesystem::path checkpoint_path(int64_t step) const;
  /// Tokenizer, templates, settings and the note of the prompt form that was taught.
  void write_companions(const std::filesystem::path& directory) const;

  TrainOptions options_;
  mutable bool told_left_out_ = false;
};

}  // namespace longlora::train
