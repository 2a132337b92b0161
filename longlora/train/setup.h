// How options become a run. set_up_run() opens the model and its adapter once and gives the decoder its
// shape, plan_run() makes the memory plan of that, and build_run() loads the decoder as the plan says. `plan`
// goes the first two steps of this way, `fine-tune` and `sft` all three.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/forward/layer_source.h"
#include "longlora/model/decoder.h"
#include "longlora/model/stored_model.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/options.h"

namespace longlora::train {

/// All that is known of a run before anything large is loaded.
struct RunSetup {
  TrainOptions options;  // with what the model and the adapter decide filled in
  /// Where the decoder comes from. A model from nothing has neither; a run that is only planned has no base
  /// where only config.json is there.
  std::optional<model::StoredModel> base = {};
  std::optional<checkpoint::PeftAdapter> adapter = {};
  /// The decoder without values: with its window, low-rank pairs, and parameters that train.
  model::Decoder shape = {};
  /// Frozen weights that may stay in the base's files, since the decoder has them as they are there, and
  /// whether they are converted when their layer runs.
  std::set<std::string> streamable = {};
  bool copies = false;
  std::string window_change = {};  // what the log is to have of it (model::stretch_window)
  int64_t program_bytes = 0;       // resident before the model was opened
};

/// Opens what the options name. `planned` is a model that is nowhere on disk, in place of theirs. Throws
/// InputError for files that cannot be read or do not fit each other, UsageError for an adapter that cannot
/// be trained further, and for pairs, windows and parameters that the model does not have.
RunSetup set_up_run(const TrainOptions& options, const std::optional<model::ModelConfig>& planned = {});

/// What the memory plan of a run on this machine is made for. A request from the options alone is for a
/// decoder whose weights are in memory already; the bytes that the program takes without a model are then the
/// default of PlanRequest instead of those that `setup` has measured.
PlanRequest run_request(const RunSetup& setup);
PlanRequest run_request(const TrainOptions& options);

/// The memory plan of that request. Throws ResourceError when the run cannot fit.
MemoryPlan plan_run(const RunSetup& setup);
MemoryPlan plan_run(const TrainOptions& options, const model::Decoder& decoder);

/// A run that can start: the decoder in place and everything else decided.
struct BuiltRun {
  TrainOptions options;
  MemoryPlan plan;
  model::Decoder decoder;
  std::shared_ptr<const forward::LayerSource> source;  // brings the weights of the layers
  std::optional<model::StoredModel> base;
  std::optional<checkpoint::PeftAdapter> adapter;
};

/// Loads the decoder, or makes it, with weights where the plan says. Throws InputError for files that do not
/// hold what they promise, and ResourceError where the plan's folder for scratch files cannot be made.
BuiltRun build_run(RunSetup setup, const MemoryPlan& plan);

}  // namespace longlora::train
