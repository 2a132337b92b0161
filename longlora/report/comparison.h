// Results of the same kind brought together, model by model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "longlora/report/inputs.h"

namespace longlora::report {

struct ModelPerplexity {
  std::string label;
  std::vector<results::PerplexityPoint> points;  // by ascending length, one for each
};

/// Perplexities that may be compared: the same text and the same kind of window.
struct PerplexityGroup {
  std::string data;
  std::string window;
  std::vector<ModelPerplexity> models;  // in the order of Inputs::labels
  std::vector<int64_t> lengths;         // all that occur, ascending
};

/// Null when the model was not evaluated at that length.
const results::PerplexityPoint* find_point(const ModelPerplexity& model, int64_t seq_len_tokens);

/// "window all, on book.bin": what sets a group apart; empty when nothing is known.
std::string describe(const PerplexityGroup& group);

/// Groups in order of first appearance. Where a model has several results for
/// one length the later one counts, with a note.
std::vector<PerplexityGroup> group_perplexities(const Inputs& inputs,
                                                std::vector<std::string>* notes = nullptr);

struct ModelPasskey {
  std::string label;
  std::vector<results::PasskeyLength> lengths;  // by ascending tokens
};

/// Lengths in whole tokens: what columns and rows are named by.
int64_t rounded_tokens(const results::PasskeyLength& length);

/// Null when the model was not tried at that length.
const results::PasskeyLength* find_length(const ModelPasskey& model, int64_t tokens);

/// Share of all trials, or mean over lengths where trials are not listed.
double overall_accuracy(const ModelPasskey& model);

std::vector<ModelPasskey> group_passkeys(const Inputs& inputs, std::vector<std::string>* notes = nullptr);

/// All lengths that occur, ascending.
std::vector<int64_t> passkey_lengths(const std::vector<ModelPasskey>& models);

using AnswersFile = ResultFile<results::Answers>;
using ScoreFile = ResultFile<results::Score>;

/// The results of `answer` in the order of Inputs::labels. Where a model has several with the same tasks the
/// later one counts, with a note.
std::vector<const AnswersFile*> shown_answers(const Inputs& inputs,
                                              std::vector<std::string>* notes = nullptr);

/// Tasks of all results, in order of first appearance.
std::vector<std::string> tasks_of(const std::vector<const AnswersFile*>& files);

/// Null when the model had no question of that task.
const results::AnswerTask* find_task(const results::Answers& answers, const std::string& name);

/// Scores that may be compared: those of the same ids.
struct ScoreGroup {
  std::vector<int64_t> ids;
  std::vector<const ScoreFile*> models;  // in the order of Inputs::labels, one for each
};

/// Groups in order of first appearance. Where a model has several scores of one text the later one counts,
/// with a note.
std::vector<ScoreGroup> group_scores(const Inputs& inputs, std::vector<std::string>* notes = nullptr);

/// exp of the negative mean log-probability of a token.
double perplexity_of(const ScoreFile& file);

/// Mean loss over the first or last twentieth of the steps (at least one).
double early_loss(const results::TrainLog& log);
double late_loss(const results::TrainLog& log);

}  // namespace longlora::report
