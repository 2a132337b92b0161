// What a report is made of: training logs and results of evaluations, read from files that are recognised by
// their content.
#pragma once

#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/report/parts.h"
#include "longlora/results/train_log.h"

namespace longlora::report {

struct TrainingRun {
  std::string label;
  std::filesystem::path path;  // the run directory, or the log itself
  Json config;                 // the content of run.json; null when there is none
  results::TrainLog log;
};

/// A result file, and the model that the result belongs to.
template <typename Result>
struct ResultFile {
  std::string label;
  Result result;
  std::filesystem::path path;
  Json source;  // the content of the whole file
};

/// A list of result files for each kind of result that has a part in the report.
template <typename Parts>
struct FilesOfParts;
template <typename... Parts>
struct FilesOfParts<std::tuple<Parts...>> {
  std::tuple<std::vector<ResultFile<typename Parts::Result>>...> lists;
};

struct Inputs {
  std::vector<std::string> labels;  // of the models, in order of first appearance
  std::vector<TrainingRun> runs;
  FilesOfParts<ResultParts> results;
  std::vector<std::string> notes;  // what a reader of the report should know

  /// The result files of one kind, in the order in which they were named: files<results::Score>().
  template <typename Result>
  std::vector<ResultFile<Result>>& files() {
    return std::get<std::vector<ResultFile<Result>>>(results.lists);
  }
  template <typename Result>
  const std::vector<ResultFile<Result>>& files() const {
    return std::get<std::vector<ResultFile<Result>>>(results.lists);
  }

  /// The place of a label in `labels`, which fixes the model's colour everywhere.
  size_t label_index(const std::string& label) const;
};

/// A run directory, a training log or a result file, and the name to give its model.
struct InputPath {
  std::filesystem::path path;
  std::string label;  // empty: the file's own label, else the name of model, directory or file
};

/// The verbs whose results a report shows, for a text: with ("`", "or") "`eval`, `passkey` or
/// `score`".
std::string list_result_verbs(const std::string& quote, const std::string& conjunction);

/// Reads all of them. Throws InputError that names the file and what was expected.
Inputs read_inputs(const std::vector<InputPath>& paths);

}  // namespace longlora::report
