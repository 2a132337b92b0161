// The result of `bench`: how fast a model reads and writes on this machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/core/json_fwd.h"
#include "longlora/results/evaluated_model.h"

namespace longlora::results {

/// One measurement: so many sequences read a prompt each and write on from it together.
struct SpeedRow {
  int64_t prompt_tokens = 0;  // of each sequence
  int64_t sequences = 1;
  int64_t new_tokens = 0;           // of each sequence
  double prompt_seconds = 0.0;      // of all prompts; the first token is picked then
  double prompt_rate = 0.0;         // tokens of prompts a second
  double rate = 0.0;                // tokens written a second, all sequences together
  double bytes_per_step = 0.0;      // weights, keys and values that a step reads
  double share_of_bandwidth = 0.0;  // bytes read a second by those that the machine can read

  template <typename Row, typename Fields>
  static void list_fields(Row& row, Fields& fields) {
    fields.required("prompt_tokens", row.prompt_tokens);
    fields.required("sequences", row.sequences);
    fields.required("new_tokens", row.new_tokens);
    fields.required("prompt_seconds", row.prompt_seconds);
    fields.required("prompt_tokens_per_second", row.prompt_rate);
    fields.required("tokens_per_second", row.rate);
    fields.required("bytes_per_step", row.bytes_per_step);
    fields.required("share_of_read_bandwidth", row.share_of_bandwidth);
  }
};

struct Speed {
  static constexpr const char* kVerb = "bench";

  EvaluatedModel model = {};
  int64_t threads = 0;
  double read_bandwidth = 0.0;  // bytes a second, measured in the same run
  std::vector<SpeedRow> rows = {};

  template <typename Result, typename Fields>
  static void list_fields(Result& result, Fields& fields) {
    EvaluatedModel::list_fields(result.model, fields);
    fields.required("threads", result.threads);
    fields.required("read_bandwidth_bytes_per_second", result.read_bandwidth);
    fields.objects("results", result.rows);
  }

  Json to_json() const;
};

}  // namespace longlora::results
