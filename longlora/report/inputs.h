// What a report is made of: training logs and evaluation results, read from
// files that are recognised by their content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::report {

/// One optimizer step. A value that the log lacks, or holds as null (JSON has no
/// infinity or NaN), is NaN here; a count is -1.
struct TrainStep {
  int64_t step = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;
  double tokens_per_second = 0;
  int64_t tokens = -1;  // trained on so far
  int64_t peak_memory_bytes = -1;
  double seconds = 0;  // training time so far, over all resumptions
};

/// An evaluation on held-out data during training.
struct TrainEvaluation {
  int64_t step = 0;
  double loss = 0;
  double perplexity = 0;
};

/// A train_log.jsonl. Steps ascend: where a resumed run logged a step again, the
/// later line counts and what followed the earlier one is dropped.
struct TrainLog {
  std::vector<TrainStep> steps;
  std::vector<TrainEvaluation> evaluations;
  std::vector<std::string> notes;  // a truncated last line that was left out
};

struct TrainingRun {
  std::string label;
  std::filesystem::path path;  // the run directory, or the log itself
  Json config;                 // run.json; null when there is none
  TrainLog log;
};

struct PerplexityPoint {
  int64_t seq_len_tokens = 0;
  double loss = 0;        // mean next-token loss in nats; NaN when not finite
  double perplexity = 0;  // NaN when not finite
  double accuracy = 0;    // next-token accuracy; NaN when not given
  int64_t num_windows = -1;
};

/// An `eval` result file.
struct PerplexityResult {
  std::string label;
  std::string window;  // "all", "last" or "same-targets"; empty when not given
  std::string data;    // paths of the text evaluated on, split by ", "; empty when not given
  std::vector<PerplexityPoint> points;
  std::filesystem::path path;
  Json source;  // the whole file
};

struct PasskeyTrial {
  double depth = 0;  // place of the key in the text: 0 = start, 1 = end
  bool correct = false;
};

struct PasskeyLength {
  double tokens = 0;  // mean prompt length of the trials
  double accuracy = 0;
  std::vector<PasskeyTrial> trials;
};

/// A `passkey` result file.
struct PasskeyResult {
  std::string label;
  std::vector<PasskeyLength> lengths;
  std::filesystem::path path;
  Json source;  // the whole file
};

struct AnswerTask {
  std::string task;  // "all" sums up the others
  int64_t num_questions = 0;
  double exact = 0;  // share of the questions that were answered word for word
};

/// An `answer` result file.
struct AnswerResult {
  std::string label;
  std::vector<AnswerTask> tasks;
  int64_t num_skipped = -1;  // questions beyond the context; -1: not given
  std::filesystem::path path;
  Json source;  // the whole file
};

/// A `score` result file.
struct ScoreResult {
  std::string label;
  Json ids;                // of the text, a list: scores of the same ids can be compared
  int64_t num_scored = 0;  // ids that have a log-probability: all but the first
  double sum = 0;          // log-probability of the text in nats; NaN when not finite
  std::filesystem::path path;
  Json source;  // the whole file
};

struct Inputs {
  std::vector<std::string> labels;  // models, in order of first appearance
  std::vector<TrainingRun> runs;
  std::vector<PerplexityResult> perplexities;
  std::vector<PasskeyResult> passkeys;
  std::vector<AnswerResult> answers;
  std::vector<ScoreResult> scores;
  std::vector<std::string> notes;  // things a reader of the report should know

  /// Place of a label in `labels`: it fixes the model's colour everywhere.
  size_t label_index(const std::string& label) const;
};

/// Parses a training log; `source` names it in errors. An unfinished last line
/// (a killed run) is left out with a note. Throws InputError with the line.
TrainLog parse_train_log(const std::string& text, const std::string& source);

/// Parses a result; `path` names it in errors. Throws InputError.
PerplexityResult parse_perplexity(const Json& json, const std::filesystem::path& path);
PasskeyResult parse_passkey(const Json& json, const std::filesystem::path& path);
AnswerResult parse_answers(const Json& json, const std::filesystem::path& path);
ScoreResult parse_score(const Json& json, const std::filesystem::path& path);

/// A run directory, a training log or a result file, and how to name its model.
struct InputPath {
  std::filesystem::path path;
  std::string label;  // empty: the file's own label, else the name of model, directory or file
};

/// Reads all of them. Throws InputError that names the file and what was expected.
Inputs read_inputs(const std::vector<InputPath>& paths);

}  // namespace longlora::report
