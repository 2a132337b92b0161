// What a run writes while it trains: train_log.jsonl, and event files for TensorBoard in runs/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "longlora/core/json_fwd.h"
#include "longlora/results/tensorboard.h"
#include "longlora/results/train_log.h"

namespace longlora::results {

/// Writes both logs of one run. Not thread-safe.
class RunLog {
 public:
  /// Logs into the directory of the run. Nothing is written there before the first step.
  explicit RunLog(std::filesystem::path run_directory) : directory_(std::move(run_directory)) {}

  /// Drops the log of all steps after `step`, because a resumed run writes them again.
  void truncate(int64_t step) const;

  /// Appends one line to train_log.jsonl, and its values to TensorBoard's curves. The line is written whole
  /// or (ResourceError) not at all. An evaluation before the first step that this object logged has no curve.
  void add(const TrainStep& step);
  void add(const TrainEvaluation& evaluation);

 private:
  std::filesystem::path path() const { return directory_ / "train_log.jsonl"; }
  void append(const Json& line) const;

  std::filesystem::path directory_;
  std::optional<TensorBoardWriter> events_;
};

}  // namespace longlora::results
