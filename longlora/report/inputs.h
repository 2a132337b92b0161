// What a report is made of: training logs and results of evaluations, read from files that are recognised by
// their content.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/results/answers.h"
#include "longlora/results/passkey.h"
#include "longlora/results/perplexity.h"
#include "longlora/results/score.h"
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

struct Inputs {
  std::vector<std::string> labels;  // of the models, in order of first appearance
  std::vector<TrainingRun> runs;
  std::vector<ResultFile<results::Perplexity>> perplexities;
  std::vector<ResultFile<results::Passkey>> passkeys;
  std::vector<ResultFile<results::Answers>> answers;
  std::vector<ResultFile<results::Score>> scores;
  std::vector<std::string> notes;  // what a reader of the report should know

  /// The place of a label in `labels`, which fixes the model's colour everywhere.
  size_t label_index(const std::string& label) const;
};

/// A run directory, a training log or a result file, and the name to give its model.
struct InputPath {
  std::filesystem::path path;
  std::string label;  // empty: the file's own label, else the name of model, directory or file
};

/// Reads all of them. Throws InputError that names the file and what was expected.
Inputs read_inputs(const std::vector<InputPath>& paths);

}  // namespace longlora::report
