// How options become a run, in three steps. set_up_run() opens the model and its adapter and makes the
// decoder without values. plan_run() makes the memory plan for it. build_run() loads the decoder as the plan
// says. The verb `plan` takes the first two steps, `fine-tune` and `sft` take all three.
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

/// Everything that is known of a run before anything large is loaded.
struct RunSetup {
  TrainOptions options;  // what the model and the adapter decide is filled in
  /// Where the decoder comes from. A run from random weights has neither base nor adapter. A run that is only
  /// planned has no base where its directory holds nothing but config.json.
  std::optional<model::StoredModel> base = {};
  std::optional<checkpoint::PeftAdapter> adapter = {};
  /// The decoder without values. It has the run's window and low-rank pairs, and what is trained is
  /// trainable.
  model::Decoder shape = {};
  /// The frozen weights that may stay in the base's files because nothing changes them, and below whether
  /// they are converted when their layer runs.
  std::set<std::string> streamable = {};
  bool copies = false;
  std::string window_change = {};  // a line for the log about the window, from model::stretch_window
  int64_t program_bytes = 0;       // what the process held before the model was opened
};

/// Opens what the options name. `planned` is the configuration of a model that is not on disk, which takes
/// the place of the options' model. Throws InputError for files that cannot be read or do not fit each other;
/// UsageError for an adapter that cannot be trained further, and for pairs, windows and parameters that the
/// model does not have.
RunSetup set_up_run(const TrainOptions& options, const std::optional<model::ModelConfig>& planned = {});

/// Returns what the memory plan of a run on this machine is made for.
PlanRequest run_request(const RunSetup& setup);

/// Makes the memory plan of a run on this machine. Throws ResourceError when the run cannot fit.
MemoryPlan plan_run(const RunSetup& setup);

/// A run that can start: its decoder is loaded and everything else is decided.
struct BuiltRun {
  TrainOptions options;
  MemoryPlan plan;
  model::Decoder decoder;
  std::shared_ptr<const forward::LayerSource> source;  // brings the weights of the layers
  std::optional<model::StoredModel> base;
  std::optional<checkpoint::PeftAdapter> adapter;
};

/// Loads the decoder, or makes it with random weights, which lie where the plan says. Throws InputError for
/// files that do not hold what they promise, and ResourceError where the folder for scratch files cannot be
/// made.
BuiltRun build_run(RunSetup setup, const MemoryPlan& plan);

}  // namespace longlora::train
