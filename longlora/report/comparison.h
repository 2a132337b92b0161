// Brings results of the same kind together, model by model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "longlora/report/inputs.h"

namespace longlora::report {

struct ModelPerplexity {
  std::string label;
  std::vector<results::PerplexityPoint> points;  // one for each length, ascending
};

/// Perplexities that may be compared: the same text and the same kind of window.
struct PerplexityGroup {
  std::string data;
  std::string window;
  std::vector<ModelPerplexity> models;  // in the order of Inputs::labels
  std::vector<int64_t> lengths;         // all lengths that occur, ascending
};

/// The model's result at that length, or null where it was not evaluated there.
const results::PerplexityPoint* find_point(const ModelPerplexity& model, int64_t seq_len_tokens);

/// Says what sets a group apart: "window all, on book.bin". Empty when nothing is known.
std::string describe(const PerplexityGroup& group);

/// The groups, in order of first appearance. Where a model has several results for one length the later one
/// counts, with a note.
std::vector<PerplexityGroup> group_perplexities(const Inputs& inputs,
                                                std::vector<std::string>* notes = nullptr);

struct ModelPasskey {
  std::string label;
  std::vector<results::PasskeyLength> lengths;  // ascending by tokens
};

/// The length in whole tokens, by which columns and rows are named.
int64_t rounded_tokens(const results::PasskeyLength& length);

/// The model's result at that length, or null where it was not tried there.
const results::PasskeyLength* find_length(const ModelPasskey& model, int64_t tokens);

/// The share of all trials that succeeded, or the mean over lengths where trials are not listed.
double overall_accuracy(const ModelPasskey& model);

std::vector<ModelPasskey> group_passkeys(const Inputs& inputs, std::vector<std::string>* notes = nullptr);

/// All prompt lengths that one of the models was asked at, ascending.
std::vector<int64_t> lengths_measured(const std::vector<ModelPasskey>& models);

using AnswersFile = ResultFile<results::Answers>;
using ScoreFile = ResultFile<results::Score>;

/// The results of `answer` in the order of Inputs::labels. Where a model has several with the same tasks the
/// later one counts, with a note.
std::vector<const AnswersFile*> shown_answers(const Inputs& inputs,
                                              std::vector<std::string>* notes = nullptr);

/// The tasks of all results, in order of first appearance.
std::vector<std::string> tasks_of(const std::vector<const AnswersFile*>& files);

/// What the model achieved in a task, or null where it had no question of that task.
const results::AnswerTask* find_task(const results::Answers& answers, const std::string& name);

/// Scores that may be compared, because they are of the same ids.
struct ScoreGroup {
  std::vector<int64_t> ids;
  std::vector<const ScoreFile*> models;  // in the order of Inputs::labels, one for each
};

/// The groups, in order of first appearance. Where a model has several scores of one text the later one
/// counts, with a note.
std::vector<ScoreGroup> group_scores(const Inputs& inputs, std::vector<std::string>* notes = nullptr);

/// The exponential of the negative mean log-probability of a token.
double perplexity_of(const ScoreFile& file);

/// The mean loss over the first or the last twentieth of the steps (at least one).
double early_loss(const results::TrainLog& log);
double late_loss(const results::TrainLog& log);

}  // namespace longlora::report
