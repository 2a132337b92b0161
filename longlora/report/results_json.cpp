#include <cmath>

#include "longlora/core/file.h"
#include "longlora/report/comparison.h"
#include "longlora/report/report.h"

namespace longlora::report {
namespace {

/// JSON has no infinity or NaN: null.
Json number_or_null(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json count_or_null(int64_t count) {
  return count < 0 ? Json(nullptr) : Json(count);
}

Json run_json(const TrainingRun& run) {
  Json steps = Json::array();
  for (const TrainStep& step : run.log.steps) {
    steps.push_back({{"step", step.step},
                     {"loss", number_or_null(step.loss)},
                     {"learning_rate", number_or_null(step.learning_rate)},
                     {"grad_norm", number_or_null(step.gradient_norm)},
                     {"tokens_per_second", number_or_null(step.tokens_per_second)},
                     {"tokens", count_or_null(step.tokens)},
                     {"peak_memory_bytes", count_or_null(step.peak_memory_bytes)},
                     {"seconds", number_or_null(step.seconds)}});
  }
  Json evaluations = Json::array();
  for (const TrainEvaluation& evaluation : run.log.evaluations) {
    evaluations.push_back({{"step", evaluation.step},
                           {"eval_loss", number_or_null(evaluation.loss)},
                           {"eval_perplexity", number_or_null(evaluation.perplexity)}});
  }
  return {{"path", run.path.string()}, {"run", run.config}, {"steps", steps}, {"evaluations", evaluations}};
}

Json result_json(const std::filesystem::path& path, const Json& source) {
  Json json = {{"path", path.string()}};
  json.update(source);
  return json;
}

/// The results of one kind that belong to a model.
template <typename Result>
Json results_of(const std::vector<Result>& results, const std::string& label) {
  Json found = Json::array();
  for (const Result& result : results) {
    if (result.label == label) {
      found.push_back(result_json(result.path, result.source));
    }
  }
  return found;
}

Json model_json(const Inputs& inputs, const std::string& label) {
  Json training = Json::array();
  for (const TrainingRun& run : inputs.runs) {
    if (run.label == label) {
      training.push_back(run_json(run));
    }
  }
  return {{"label", label},
          {"training", training},
          {"eval", results_of(inputs.perplexities, label)},
          {"passkey", results_of(inputs.passkeys, label)},
          {"answer", results_of(inputs.answers, label)},
          {"score", results_of(inputs.scores, label)}};
}

}  // namespace

void write_results_json(const Inputs& inputs, const std::filesystem::path& path) {
  Json models = Json::array();
  for (const std::string& label : inputs.labels) {
    models.push_back(model_json(inputs, label));
  }
  const Json json = {
      {"verb", "report"}, {"summary", summarize(inputs)}, {"models", models}, {"notes", inputs.notes}};
  // Sources may hold bytes that are not UTF-8 only as escapes, so dumping cannot fail on them.
  write_json(path, json);
}

}  // namespace longlora::report
