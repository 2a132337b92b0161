// Everything a training run can be told: groups of options, each of which lists its fields (option_fields.h).
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

/// Options of `fine-tune` and `sft`; names are the command line's.
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

  /// All contradictions and out-of-range values, one per line; empty when fine.
  std::vector<std::string> problems() const;
  /// The effective options, for run.json.
  Json to_json() const;
  /// The part of to_json() that must not change when a run is resumed. The contents of what it reads must
  /// not, either (input_fingerprints.h); where that lies may. The number of steps is RunDirectory::restore's
  /// matter.
  Json identity() const;
  /// Tokens of all micro-batches of an update, at most.
  int64_t update_tokens() const {
    return per_device_train_batch_size * gradient_accumulation_steps * model_max_length;
  }
  /// The folder for what does not fit memory.
  const std::filesystem::path& scratch_folder() const {
    return scratch_dir.empty() ? output_dir : scratch_dir;
  }
  /// What the memory plan has to know of this run, without a budget.
  PlanRequest plan_request() const;
};

/// Throws UsageError that lists every problem.
void validate(const TrainOptions& options);

}  // namespace longlora::train
