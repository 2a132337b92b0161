// The training loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

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
#include "longlora/train/setup.h"
#include "longlora/train/trained_parameters.h"

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

/// The model that a run trains. A decoder alone has all its weights in memory and the masters that its values
/// give.
struct RunModel {
  RunModel(model::Decoder& decoder_to_train) : decoder(decoder_to_train) {}
  RunModel(BuiltRun& run)
      : decoder(run.decoder),
        source(run.source),
        base(run.base ? &*run.base : nullptr),
        adapter(run.adapter ? &*run.adapter : nullptr) {}

  model::Decoder& decoder;  // with what trains made trainable; outlives the run
  std::shared_ptr<const forward::LayerSource> source = forward::resident();
  /// What the decoder was loaded from, for masters as precise as the files; null: nothing. They outlive the
  /// run.
  const model::StoredModel* base = nullptr;
  const checkpoint::PeftAdapter* adapter = nullptr;
};

/// Trains a model on rows of data. Owns the rows, what training keeps beside the model, and the run
/// directory.
class Trainer {
 public:
  /// `eval_data` may be null. `observer` must outlive it. Without a `plan` it makes one for weights that are
  /// in memory. Takes up the newest checkpoint when the options say so. Throws InputError when the checkpoint
  /// is of another run.
  Trainer(const TrainOptions& options, const RunModel& model, std::unique_ptr<const data::TrainingRows> data,
          std::unique_ptr<const data::TrainingRows> eval_data, TrainObserver& observer,
          std::optional<MemoryPlan> plan = {});
  /// A run that was built as its plan says; it must outlive the trainer.
  Trainer(BuiltRun& run, std::unique_ptr<const data::TrainingRows> data,
          std::unique_ptr<const data::TrainingRows> eval_data, TrainObserver& observer)
      : Trainer(run.options, run, std::move(data), std::move(eval_data), observer, run.plan) {}

  const MemoryPlan& plan() const { return plan_; }
  const TrainedParameters& trained() const { return trained_; }
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
