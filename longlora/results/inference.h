// The result of `inference`: one question and its answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json_fwd.h"
#include "longlora/results/evaluated_model.h"

namespace longlora::results {

struct Inference {
  static constexpr const char* kVerb = "inference";

  EvaluatedModel model = {};
  std::string prompt = {};                   // the form in which the question was asked
  std::string question = {};                 // as the user gave it
  std::optional<std::string> material = {};  // the path of the text that the question is about; nullopt: none
  std::string answer = {};
  int64_t prompt_tokens = 0;
  std::vector<int64_t> answer_ids = {};
  bool stopped_by_model = false;  // the model itself ended its answer, not a limit
  double prompt_seconds = 0.0;
  double tokens_per_second = 0.0;  // how fast the answer was written

  template <typename Result, typename Fields>
  static void list_fields(Result& result, Fields& fields) {
    EvaluatedModel::list_fields(result.model, fields);
    fields.optional("prompt", result.prompt);
    fields.required("question", result.question);
    fields.optional("material", result.material);
    fields.required("answer", result.answer);
    fields.required("prompt_tokens", result.prompt_tokens);
    fields.required("answer_ids", result.answer_ids);
    fields.required("stopped_by_model", result.stopped_by_model);
    fields.required("prompt_seconds", result.prompt_seconds);
    fields.required("tokens_per_second", result.tokens_per_second);
  }

  Json to_json() const;
};

}  // namespace longlora::results
