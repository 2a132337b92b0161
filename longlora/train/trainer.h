// The training loop.
#pragma once

#include <cstdint>
#include <memory>

#include "longlora/data/training_rows.h"
#include "longlora/model/decoder.h"
#include "longlora/results/train_log.h"
#include "longlora/train/batch.h"
#include "longlora/train/engine.h"
#include "longlora/train/epoch_updates.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/options.h"
#include "longlora/train/run_directory.h"
#include "longlora/train/setup.h"
#include "longlora/train/trained_parameters.h"

namespace longlora::train {

/// What one update did, and how far the run is then.
struct StepReport : results::TrainStep {
  int64_t max_steps = 0;
  double seconds_left = 0.0;
};

/// Receives the progress of a run. All members are called from the thread that trains.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void on_step(const StepReport&) {}
  virtual void on_eval(const results::TrainEvaluation&) {}
};

enum class TrainOutcome { kFinished, kStopped };

/// Trains a model on rows of data. Owns the rows, the state of training and the run directory.
class Trainer {
 public:
  /// `eval_data` may be null. `run` and `observer` must outlive the trainer. Resumes from the newest
  /// checkpoint where the options say so. Throws InputError when the checkpoint is of another run.
  Trainer(BuiltRun& run, std::unique_ptr<const data::TrainingRows> data,
          std::unique_ptr<const data::TrainingRows> eval_data, TrainObserver& observer);

  const MemoryPlan& plan() const { return plan_; }
  const TrainedParameters& trained() const { return trained_; }
  int64_t max_steps() const { return max_steps_; }
  int64_t num_rows() const { return order_.num_rows(); }
  const EpochUpdates& updates() const { return updates_; }
  const Schedule& schedule() const { return schedule_; }
  /// Returns how many ids the data have. Those that are in no row count, too.
  int64_t num_tokens() const { return data_->num_tokens(); }
  /// Returns how many updates are done. Those before a resumption count, too.
  int64_t step() const { return state_.step; }

  /// Trains until max_steps or request_stop(), and saves the state. When the run is finished, the final model
  /// is in the output directory. Throws Error, which names the step, when the loss is no longer finite.
  TrainOutcome run();

  /// Ends the run with a checkpoint after the current update. May be called in a signal handler.
  static void request_stop();

 private:
  void restore(const RunState& asked);
  void take_tiles_of_checkpoint();
  LossSums update(int64_t step, double learning_rate, double& grad_norm);
  /// Returns how many labels the rows of an update have. The loss is divided by it, so that each label counts
  /// the same in whichever batch it is.
  int64_t count_labels(const RowRange& rows);
  std::vector<data::TrainingRow> read_rows(const RowRange& rows);
  Batch training_batch(const std::vector<data::TrainingRow>& rows, const GroupRule& group_for,
                       int64_t position) const;
  /// Throws Error for a loss or gradient that is not finite.
  void check_finite(int64_t step, const LossSums& sums, double grad_norm) const;
  void evaluate(int64_t step);
  void report(int64_t step, const LossSums& sums, double learning_rate, double grad_norm, double step_seconds,
              int64_t step_tokens);

  TrainOptions options_;
  model::Decoder& decoder_;
  std::unique_ptr<const data::TrainingRows> data_;
  std::unique_ptr<const data::TrainingRows> eval_data_;
  TrainObserver& observer_;
  data::RowOrder order_;
  EpochUpdates updates_;
  int64_t max_steps_;
  MemoryPlan plan_;
  RunDirectory directory_;
  TrainedParameters trained_;
  AdamW optimizer_;
  Engine engine_;
  Schedule schedule_;
  RunState state_;
  double recent_seconds_per_step_ = 0.0;
  double recent_tokens_per_step_ = 0.0;
  int64_t batches_without_label_ = 0;
};

}  // namespace longlora::train
