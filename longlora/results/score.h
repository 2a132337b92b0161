// The result of `score`: the log-probability of every token of a text.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "longlora/core/json_fwd.h"
#include "longlora/results/evaluated_model.h"

namespace longlora::results {

struct Score {
  static constexpr const char* kVerb = "score";

  EvaluatedModel model = {};
  std::vector<int64_t> ids = {};  // the ids of the text; scores of the same ids can be compared
  std::vector<double>
      logprobs;      // natural logarithms, one for each of ids[1], ids[2], …; may be missing in a file
  double sum = 0.0;  // of all logprobs; NaN where it is not finite
  double mean = std::numeric_limits<double>::quiet_NaN();  // of all logprobs; NaN where it is not known

  /// How many ids have a log-probability: all but the first.
  int64_t num_scored() const { return static_cast<int64_t>(ids.size()) - 1; }

  template <typename Result, typename Fields>
  static void list_fields(Result& result, Fields& fields) {
    EvaluatedModel::list_fields(result.model, fields);
    fields.token_ids("ids", result.ids);
    fields.optional("logprobs", result.logprobs);
    fields.required("sum", result.sum);
    fields.optional("mean", result.mean);
  }

  Json to_json() const;
  /// `where` names the file in errors. Throws InputError.
  static Score from_json(const Json& json, const std::string& where);
};

}  // namespace longlora::results
