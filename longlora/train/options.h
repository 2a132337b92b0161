// All options of a training run, in groups, each of which lists its fields (option_fields.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/train/adapter_options.h"
#include "longlora/train/context_options.h"
#include "longlora/train/data_options.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/model_options.h"
#include "longlora/train/output_options.h"
#include "longlora/train/step_options.h"

namespace longlora::train {

/// The options of `fine-tune` and `sft`. Members are named like the flags.
struct TrainOptions : ModelOptions,
                      ContextOptions,
                      AdapterOptions,
                      DataOptions,
                      SeedOptions,
                      StepOptions,
                      MemoryOptions,
                      OutputOptions {
  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    ModelOptions::list_fields(options, fields);
    ContextOptions::list_fields(options, fields);
    AdapterOptions::list_fields(options, fields);
    DataOptions::list_fields(options, fields);
    SeedOptions::list_fields(options, fields);
    StepOptions::list_fields(options, fields);
    MemoryOptions::list_fields(options, fields);
    OutputOptions::list_fields(options, fields);
  }

  /// Returns a line for each value that is out of range and for each contradiction; empty when all is well.
  std::vector<std::string> problems() const;
  /// Returns the options in effect, for run.json.
  Json to_json() const;
  /// Returns the part of to_json() that must not change when a run is resumed. The contents of the files that
  /// a run reads must not change either (input_fingerprints.h), but their paths may. RunDirectory::restore
  /// checks the number of steps.
  Json identity() const;
  /// Returns the most tokens that all micro-batches of an update can have together.
  int64_t update_tokens() const {
    return per_device_train_batch_size * gradient_accumulation_steps * model_max_length;
  }
  /// Returns the folder for what does not fit in memory.
  const std::filesystem::path& scratch_folder() const {
    return scratch_dir.empty() ? output_dir : scratch_dir;
  }
  /// Returns what a memory plan has to know of these options. The budget is not filled in.
  PlanRequest plan_request() const;
};

/// Throws UsageError that lists every problem.
void validate(const TrainOptions& options);

}  // namespace longlora::train
