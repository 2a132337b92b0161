// Writes a run's checkpoints and its result into the output directory, and resumes from them.
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

/// How far a run is. With masters and moments it is all that a resumed run needs.
struct RunState {
  int64_t step = 0;           // how many updates are done
  int64_t rows_consumed = 0;  // the place in the order of rows
  int64_t tokens = 0;
  double seconds = 0.0;  // the time spent in training so far
  // What follows decides the bits of later updates. 0 and an empty text mean that it was not recorded.
  int64_t data_tokens = 0;            // how many ids the training data have
  int64_t num_threads = 0;            // over which sums are divided
  std::string data_fingerprint = {};  // of the rows of the training data
  int64_t tile_tokens = -1;           // the size of a tile, 0: all rows; below 0: not recorded
  int64_t loss_chunk_rows = 0;
  int64_t max_steps = 0;  // how many updates the whole run has
};

/// The checkpoints and the result of one run in options.output_dir. Each is written under another name,
/// synced and renamed, so that every checkpoint-N that exists is whole, and so is the result.
class RunDirectory {
 public:
  /// Claims the folder and begins the run there. Throws the errors of RunFolder. `adapter` is the one at
  /// options.peft_model, or null where there is none; it must outlive this object.
  explicit RunDirectory(const TrainOptions& options, const checkpoint::PeftAdapter* adapter = nullptr);

  /// Restores the newest checkpoint for a run with the data and max_steps of `asked`, and returns its state.
  /// Where there is no checkpoint but the result of a finished run of max_steps updates, it returns the final
  /// state and leaves the optimizer as it is. Returns nullopt when there is neither. Throws InputError, which
  /// names the differences, when the checkpoint is of a run with other options or inputs, and where a
  /// finished run is to go on whose checkpoints are gone.
  std::optional<RunState> restore(AdamW& optimizer, const RunState& asked);

  /// Writes checkpoint-STEP, which has the files of write_model, optimizer.safetensors and
  /// trainer_state.json. Then removes the oldest checkpoints where there are more than save_total_limit.
  void save(const RunState& state, AdamW& optimizer, const TrainedParameters& trained);

  /// Writes the result, which has the files of write_model, into output_dir in one transaction, and removes
  /// the earlier run that this one replaces. Throws UsageError where files of other origin have the same
  /// names.
  void finish(const RunState& state, const TrainedParameters& trained);
  /// Whether the result of the finished run is there and complete.
  bool is_finished(const RunState& state) const;

  /// Writes the model of a checkpoint or of the result, with the tokenizer's files: a PEFT adapter with other
  /// trained parameters and config.json, or a whole Hugging Face directory.
  void write_model(const TrainedParameters& trained, const std::filesystem::path& directory) const;

  results::RunLog& log() { return log_; }

  /// Returns the largest N of the checkpoint-N that are there.
  std::optional<int64_t> newest_checkpoint() const;

 private:
  void check_identity(const Json& saved, const std::filesystem::path& source) const;
  Json state_json(const RunState& state) const;
  /// Writes the tokenizer, templates, settings and the note of the prompt form that was taught.
  void write_companions(const std::filesystem::path& directory) const;

  TrainOptions options_;
  const checkpoint::PeftAdapter* adapter_;
  RunFolder folder_;
  results::RunLog log_;
  Json identity_;  // what must be the same when the run is resumed: options, and contents of the files that
                   // it reads
  mutable bool told_left_out_ = false;
};

}  // namespace longlora::train
