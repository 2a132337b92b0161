// The output directory of a run: checkpoints as transactions, the log, the
// final model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "longlora/core/json.h"
#include "longlora/results/run_log.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/options.h"
#include "longlora/train/run_folder.h"
#include "longlora/train/trained_parameters.h"

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
  int64_t max_steps = 0;  // of the whole run
};

/// Files of one run under options.output_dir. A checkpoint is written aside,
/// synced and renamed, so every checkpoint-N that exists is whole; so is the result.
class RunDirectory {
 public:
  /// Claims the folder and begins the run there: see RunFolder, whose errors it throws. `adapter` is that of
  /// options.peft_model and must outlive it; null where the run goes on from none.
  explicit RunDirectory(const TrainOptions& options, const checkpoint::PeftAdapter* adapter = nullptr);

  /// Restores the newest checkpoint, for a run with the data and max_steps of `asked`. Without a checkpoint,
  /// but with the result of a finished run of so many updates: where that run ended, and nothing in the
  /// optimizer. nullopt when there is neither. Throws InputError when it belongs to a run with other options
  /// or inputs, naming them, and where a finished run is to go on whose checkpoints are gone.
  std::optional<RunState> restore(AdamW& optimizer, const RunState& asked);

  /// Writes checkpoint-STEP (model files as in write_model, optimizer.safetensors,
  /// trainer_state.json) and removes the oldest beyond save_total_limit.
  void save(const RunState& state, AdamW& optimizer, const TrainedParameters& trained);

  /// Puts the result into output_dir as one, with what write_model writes, and removes the earlier run that
  /// this one replaces. Throws UsageError where files of other origin have its names.
  void finish(const RunState& state, const TrainedParameters& trained);
  /// Whether the result of the finished run is there and whole.
  bool is_finished(const RunState& state) const;

  /// The model of a checkpoint or the result: a PEFT adapter with trained parameters and config.json, or a
  /// whole Hugging Face directory; tokenizer files beside it.
  void write_model(const TrainedParameters& trained, const std::filesystem::path& directory) const;

  results::RunLog& log() { return log_; }

  /// Largest N of the checkpoint-N present.
  std::optional<int64_t> newest_checkpoint() const;

 private:
  void check_identity(const Json& saved, const std::filesystem::path& source) const;
  Json state_json(const RunState& state) const;
  /// Tokenizer, templates, settings and the note of the prompt form that was taught.
  void write_companions(const std::filesystem::path& directory) const;

  TrainOptions options_;
  const checkpoint::PeftAdapter* adapter_;
  RunFolder folder_;
  results::RunLog log_;
  Json identity_;  // what must be the same when the run is resumed: options, and contents of what it reads
  mutable bool told_left_out_ = false;
};

}  // namespace longlora::train
