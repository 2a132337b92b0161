// What a report is made of: training logs and evaluation results, read from
// files that are recognised by their content.
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
  Json config;                 // run.json; null when there is none
  results::TrainLog log;
};

/// A result file, and the model that it is of.
template <typename Result>
struct ResultFile {
  std::string label;
  Result result;
  std::filesystem::path path;
  Json source;  // the whole file
};

struct Inputs {
  std::vector<std::string> labels;  // models, in order of first appearance
  std::vector<TrainingRun> runs;
  std::vector<ResultFile<results::Perplexity>> perplexities;
  std::vector<ResultFile<results::Passkey>> passkeys;
  std::vector<ResultFile<results::Answers>> answers;
  std::vector<ResultFile<results::Score>> scores;
  std::vector<std::string> notes;  // things a reader of the report should know

  /// Place of a label in `labels`: it fixes the model's colour everywhere.
  size_t label_index(const std::string& label) const;
};

/// A run directory, a training log or a result file, and how to name its model.
struct InputPath {
  std::filesystem::path path;
  std::string label;  // empty: the file's own label, else the name of model, directory or file
};

/// Reads all of them. Throws InputError that names the file and what was expected.
Inputs read_inputs(const std::vector<InputPath>& paths);

}  // namespace longlora::report
