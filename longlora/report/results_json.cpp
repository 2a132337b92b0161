#include "longlora/core/file.h"
#include "longlora/report/report.h"
#include "longlora/results/fields.h"

namespace longlora::report {
namespace {

// The lines of a training log, without what no report shows.
template <typename Line>
Json lines_json(const std::vector<Line>& lines, const char* left_out) {
  Json list = Json::array();
  for (const Line& line : lines) {
    list.push_back(results::write_fields(line));
    list.back().erase(left_out);
  }
  return list;
}

Json run_json(const TrainingRun& run) {
  return {{"path", run.path.string()},
          {"run", run.config},
          {"steps", lines_json(run.log.steps, "epoch")},
          {"evaluations", lines_json(run.log.evaluations, "eval_accuracy")}};
}

Json result_json(const std::filesystem::path& path, const Json& source) {
  Json json = {{"path", path.string()}};
  json.update(source);
  return json;
}

// The results of one kind that belong to a model.
template <typename Result>
Json results_of(const std::vector<ResultFile<Result>>& files, const std::string& label) {
  Json found = Json::array();
  for (const ResultFile<Result>& file : files)
    if (file.label == label) found.push_back(result_json(file.path, file.source));
  return found;
}

Json model_json(const Inputs& inputs, const std::string& label) {
  Json training = Json::array();
  for (const TrainingRun& run : inputs.runs)
    if (run.label == label) training.push_back(run_json(run));
  Json json = {{"label", label}, {"training", training}};
  for_each_result_part([&](auto part) {
    using Result = typename decltype(part)::Result;
    json[Result::kVerb] = results_of(inputs.files<Result>(), label);
  });
  return json;
}

}  // namespace

void write_results_json(const Inputs& inputs, const std::filesystem::path& path) {
  Json models = Json::array();
  for (const std::string& label : inputs.labels) models.push_back(model_json(inputs, label));
  const Json json = {
      {"verb", "report"}, {"summary", summarize(inputs)}, {"models", models}, {"notes", inputs.notes}};
  // Bytes that are not UTF-8 are in the inputs only as escapes, so that writing cannot fail on them.
  write_json(path, json);
}

}  // namespace longlora::report
