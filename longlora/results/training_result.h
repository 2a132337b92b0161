// The results of `fine-tune` and `sft`: run.json, and the file of --json.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "longlora/core/json.h"

namespace longlora::results {

/// run.json in the directory of a run: what was asked for. It is written before the first step.
struct RunDescription {
  std::string verb = {};
  std::string label = {};  // the name of the run in reports
  std::string version = {};
  Json options = {};  // the options that were in effect
  int64_t parameters = -1;
  int64_t trainable_parameters = -1;
  int64_t max_steps = -1;
  int64_t rows = -1;
  int64_t steps_per_epoch = -1;
  int64_t predicted_memory_bytes = -1;

  template <typename Run, typename Fields>
  static void list_fields(Run& run, Fields& fields) {
    fields.optional("verb", run.verb);
    fields.optional("label", run.label);
    fields.optional("version", run.version);
    fields.optional("options", run.options);
    fields.optional("parameters", run.parameters);
    fields.optional("trainable_parameters", run.trainable_parameters);
    fields.optional("max_steps", run.max_steps);
    fields.optional("rows", run.rows);
    fields.optional("steps_per_epoch", run.steps_per_epoch);
    fields.optional("predicted_memory_bytes", run.predicted_memory_bytes);
  }

  Json to_json() const;
  /// `where` names the file in errors. Throws InputError.
  static RunDescription from_json(const Json& json, const std::string& where);
};

/// The file of --json, which is written at the end: how the run went.
struct TrainingResult {
  std::string verb = {};
  bool finished = false;  // false: a signal stopped it
  int64_t step = 0;       // how many updates were done
  double loss =
      std::numeric_limits<double>::quiet_NaN();  // this and the following are those of the last logged step
  int64_t tokens = 0;
  double tokens_per_second = 0.0;
  double seconds = 0.0;
  int64_t peak_memory_bytes = 0;
  int64_t predicted_memory_bytes = 0;
  int64_t tile_tokens = 0;
  int64_t inputs_on_disk = 0;
  bool weights_streamed = false;
  std::string state_on_disk = {};

  template <typename Result, typename Fields>
  static void list_fields(Result& result, Fields& fields) {
    fields.required("verb", result.verb);
    fields.required("finished", result.finished);
    fields.required("step", result.step);
    fields.required("loss", result.loss);
    fields.required("tokens", result.tokens);
    fields.required("tokens_per_second", result.tokens_per_second);
    fields.required("seconds", result.seconds);
    fields.required("peak_memory_bytes", result.peak_memory_bytes);
    fields.required("predicted_memory_bytes", result.predicted_memory_bytes);
    fields.required("tile_rows", result.tile_tokens);
    fields.required("inputs_on_disk", result.inputs_on_disk);
    fields.required("weights_streamed", result.weights_streamed);
    fields.required("state_on_disk", result.state_on_disk);
  }

  Json to_json() const;
};

}  // namespace longlora::results
