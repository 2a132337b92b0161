// The training loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "longlora/data/token_data.h"
#include "longlora/data/training_rows.h"
#include "longlora/forward/layer_source.h"
#include "longlora/model/decoder.h"
#include "longlora/results/train_log.h"
#include "longlora/train/batch.h"
#include "longlora/train/engine.h"
#include "longlora/train/epoch_updates.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/options.h"
#include "longlora/train/run_directory.h"

namespace longlora::train {

/// What one update did, and how far the run is.
struct StepReport : results::TrainStep {
  int64_t max_steps = 0;
  double seconds_left = 0.0;
};

/// Told of progress; all members are called from the training thread.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void on_step(const StepReport&) {}
  virtual void on_eval(const results::TrainEvaluation&) {}
};

enum class TrainOutcome { kFinished, kStopped };

/// What the memory plan of a run is made for, with the budget that the run has: where its frozen weights may
/// be, and the bytes that the program takes before the model is there (below 0: the usual).
PlanRequest run_request(const TrainOptions& options, FrozenWeights frozen_weights = FrozenWeights::kInMemory,
                        int64_t program_bytes = -1);

/// The memory plan of that request; `decoder`'s tensors need no values. Throws ResourceError when it cannot
/// fit.
MemoryPlan plan_run(const TrainOptions& options, const model::Decoder& decoder,
                    FrozenWeights frozen_weights = FrozenWeights::kInMemory, int64_t program_bytes = -1);

/// Trains `decoder` on rows of data. Owns the rows, the optimizer and the run directory.
class Trainer {
 public:
  /// `eval_data` may be null. `decoder`, whose layers `source` brings, and `observer` must outlive it.
  /// Without a `plan` it makes one for weights that are in memory. Takes up the newest checkpoint when the
  /// options say so. Throws InputError when the checkpoint is of another run.
  Trainer(const TrainOptions& options, model::Decoder& decoder,
          std::unique_ptr<const data::TrainingRows> data, std::unique_ptr<const data::TrainingRows> eval_data,
          TrainObserver& observer, std::optional<MemoryPlan> plan = {},
          std::shared_ptr<const forward::LayerSource> source = forward::resident());
  /// On rows of consecutive ids; `data` and `eval_data` (may be null) must outlive it too. Throws InputError
  /// when they have no whole row.
  Trainer(const TrainOptions& options, model::Decoder& decoder, const data::TokenData& data,
          const data::TokenData* eval_data, TrainObserver& observer, std::optional<MemoryPlan> plan = {});

  const MemoryPlan& plan() const { return plan_; }
  int64_t max_steps() const { return max_steps_; }
  int64_t num_rows() const { return order_.num_rows(); }
  const EpochUpdates& updates() const { return updates_; }
  const Schedule& schedule() const { return schedule_; }
  /// Ids of the data, those in no row included.
  int64_t num_tokens() const { return data_->num_tokens(); }
  /// Updates done, those before a resumption included.
  int64_t step() const { return state_.step; }

  /// Runs to max_steps, or until request_stop(); either way the state is saved.
  /// When finished, the final model is in the output directory.
  /// Throws Error when the loss stops being finite, naming the step.
  TrainOutcome run();

  /// Async-signal-safe: ends the run with a checkpoint after the current update.
  static void request_stop();

 private:
  void restore(const RunState& asked);
  void take_tiles_of_checkpoint();
  LossSums update(int64_t step, double learning_rate, double& grad_norm);
  /// Targets of an update's rows: each counts the same, whichever batch it is in.
  int64_t count_labels(const RowRange& rows);
  std::vector<data::TrainingRow> read_rows(const RowRange& rows);
  Batch training_batch(const std::vector<data::TrainingRow>& rows, const GroupRule& group_for,
                       int64_t position) const;
  /// Throws for a loss or gradient that is not finite.
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
  AdamW optimizer_;
  Engine engine_;
  Schedule schedule_;
  RunState state_;
  double recent_seconds_per_step_ = 0.0;
  double recent_tokens_per_step_ = 0.0;
  int64_t batches_without_label_ = 0;
};

}  // namespace longlora::train
