// The result of `plan`: what a training run will need.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "longlora/core/json_fwd.h"

namespace longlora::results {

/// How long a run takes, by rates that were measured or that a GPU is said to have.
struct PlannedTime {
  double seconds_per_micro_batch = 0.0;
  double seconds_per_step = 0.0;
  double tokens_per_second = 0.0;
  double matrix_flops_per_second = 0.0;
  double attention_flops_per_second = 0.0;
  double rates_varied_by = 0.0;  // the slowest measurement over the fastest

  template <typename Time, typename Fields>
  static void list_fields(Time& time, Fields& fields) {
    fields.required("seconds_per_micro_batch", time.seconds_per_micro_batch);
    fields.required("seconds_per_step", time.seconds_per_step);
    fields.required("tokens_per_second", time.tokens_per_second);
    fields.required("matrix_flops_per_second", time.matrix_flops_per_second);
    fields.required("attention_flops_per_second", time.attention_flops_per_second);
    fields.required("rates_varied_by", time.rates_varied_by);
  }
};

struct Plan {
  static constexpr const char* kVerb = "plan";

  int64_t parameters = 0;
  int64_t trainable_parameters = 0;
  double seen_tokens = 0.0;     // how many keys a query sees, on average
  int64_t budget_bytes = 0;     // the memory that the plan may use
  double model_flops = 0.0;     // the floating-point operations of a micro-batch
  double executed_flops = 0.0;  // the same with those that are done again
  int64_t memory_bytes = 0;     // the predicted peak, which is the sum of the following
  int64_t weights_bytes = 0;
  int64_t optimizer_bytes = 0;
  int64_t inputs_bytes = 0;
  int64_t kept_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t program_bytes = 0;
  int64_t tile_tokens = 0;     // rows of a tile; 0: all rows at once
  int64_t inputs_on_disk = 0;  // how many layers have their input in a scratch file
  int64_t scratch_bytes = 0;   // the disk space of those inputs
  bool weights_streamed = false;
  int64_t streamed_bytes = 0;      // the weights that are left in their files
  std::string state_on_disk = {};  // "none", "embedding" or "all"
  int64_t state_bytes = 0;         // the disk space of the training state
  std::optional<PlannedTime> time = {};

  template <typename Self, typename Fields>
  static void list_fields(Self& plan, Fields& fields) {
    fields.required("parameters", plan.parameters);
    fields.required("trainable_parameters", plan.trainable_parameters);
    fields.required("seen_tokens", plan.seen_tokens);
    fields.required("budget_bytes", plan.budget_bytes);
    fields.required("model_flops", plan.model_flops);
    fields.required("executed_flops", plan.executed_flops);
    fields.required("memory_bytes", plan.memory_bytes);
    fields.required("weights_bytes", plan.weights_bytes);
    fields.required("optimizer_bytes", plan.optimizer_bytes);
    fields.required("inputs_bytes", plan.inputs_bytes);
    fields.required("kept_bytes", plan.kept_bytes);
    fields.required("workspace_bytes", plan.workspace_bytes);
    fields.required("program_bytes", plan.program_bytes);
    fields.required("tile_rows", plan.tile_tokens);
    fields.required("inputs_on_disk", plan.inputs_on_disk);
    fields.required("scratch_bytes", plan.scratch_bytes);
    fields.required("weights_streamed", plan.weights_streamed);
    fields.required("streamed_bytes", plan.streamed_bytes);
    fields.required("state_on_disk", plan.state_on_disk);
    fields.required("state_bytes", plan.state_bytes);
    if (plan.time) PlannedTime::list_fields(*plan.time, fields);
  }

  Json to_json() const;
};

}  // namespace longlora::results
