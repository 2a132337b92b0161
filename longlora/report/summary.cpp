#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/comparison.h"
#include "longlora/report/report.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

// Says how `value` compares with `reference`: "12.3 % lower", "3.4 times higher" or "the same".
std::string compared(double value, double reference) {
  const double ratio = value / reference;
  if (std::abs(ratio - 1) < 0.0005) return "the same";
  const char* direction = ratio < 1 ? "lower" : "higher";
  const double larger = std::max(ratio, 1 / ratio);
  return larger >= 2 ? fmt::format("{:.3g} times {}", larger, direction)
                     : fmt::format("{:.1f} % {}", std::abs(ratio - 1) * 100, direction);
}

double perplexity_at(const ModelPerplexity& model, int64_t length) {
  const results::PerplexityPoint* point = find_point(model, length);
  return point == nullptr ? NAN : point->perplexity;
}

// The model with the lowest finite perplexity at this length, or null when none has one.
const ModelPerplexity* lowest_at(const PerplexityGroup& group, int64_t length) {
  const ModelPerplexity* best = nullptr;
  for (const ModelPerplexity& model : group.models) {
    const double value = perplexity_at(model, length);
    if (std::isfinite(value) && (best == nullptr || value < perplexity_at(*best, length))) best = &model;
  }
  return best;
}

std::string lowest_sentence(const PerplexityGroup& group, const ModelPerplexity& best, int64_t length) {
  const ModelPerplexity& first = group.models.front();
  const double best_value = perplexity_at(best, length);
  const double first_value = perplexity_at(first, length);
  std::string sentence = fmt::format("At {} tokens of context “{}” has the lowest perplexity, {}",
                                     format_count(length), best.label, format_perplexity(best_value));
  if (&best != &first && find_point(first, length) != nullptr) {
    return sentence + (std::isfinite(first_value)
                           ? fmt::format(": {} than “{}” ({}).", compared(best_value, first_value),
                                         first.label, format_perplexity(first_value))
                           : fmt::format("; “{}” has no finite perplexity there.", first.label));
  }
  const ModelPerplexity* second = nullptr;
  for (const ModelPerplexity& model : group.models) {
    const double value = perplexity_at(model, length);
    if (&model != &best && std::isfinite(value) &&
        (second == nullptr || value < perplexity_at(*second, length)))
      second = &model;
  }
  return second == nullptr ? sentence + "."
                           : sentence + fmt::format("; “{}” comes next with {} ({}).", second->label,
                                                    format_perplexity(perplexity_at(*second, length)),
                                                    compared(perplexity_at(*second, length), best_value));
}

// Says whether more context helps this model; empty for a single length.
std::string context_sentence(const ModelPerplexity& model) {
  std::vector<results::PerplexityPoint> points = model.points;
  std::erase_if(points,
                [](const results::PerplexityPoint& point) { return !std::isfinite(point.perplexity); });
  if (points.size() < 2) return "";
  const results::PerplexityPoint* rise_from = nullptr;
  for (size_t i = 1; i < points.size() && rise_from == nullptr; ++i)
    rise_from = points[i].perplexity > points[i - 1].perplexity ? &points[i - 1] : nullptr;
  const std::string ends =
      fmt::format("from {} at {} to {} at {} tokens", format_perplexity(points.front().perplexity),
                  format_count(points.front().seq_len), format_perplexity(points.back().perplexity),
                  format_count(points.back().seq_len));
  const bool falls = points.back().perplexity < points.front().perplexity;
  if (rise_from == nullptr) {
    return falls
               ? fmt::format("For “{}” more context never hurts: its perplexity goes {}.", model.label, ends)
               : fmt::format("For “{}” more context changes nothing: its perplexity goes {}.", model.label,
                             ends);
  }
  const results::PerplexityPoint* rise_to = rise_from + 1;
  return fmt::format(
      "For “{}” perplexity goes {}; more context {}, with a rise between {} and {} tokens ({} to {}).",
      model.label, ends, falls ? "helps over all but not everywhere" : "does not help over all",
      format_count(rise_from->seq_len), format_count(rise_to->seq_len),
      format_perplexity(rise_from->perplexity), format_perplexity(rise_to->perplexity));
}

// Says what the model that is best at long contexts loses at the shortest one.
std::string short_context_sentence(const PerplexityGroup& group, const ModelPerplexity& best) {
  const ModelPerplexity& first = group.models.front();
  const int64_t length = group.lengths.front();
  const double best_value = perplexity_at(best, length);
  const double first_value = perplexity_at(first, length);
  if (&best == &first || group.lengths.size() < 2 || !std::isfinite(best_value) ||
      !std::isfinite(first_value))
    return "";
  return fmt::format("At {} tokens, the shortest context, “{}” has {} and “{}” {} ({}).",
                     format_count(length), best.label, format_perplexity(best_value), first.label,
                     format_perplexity(first_value), compared(best_value, first_value));
}

void add_perplexity(const Inputs& inputs, std::vector<std::string>& sentences) {
  const std::vector<PerplexityGroup> groups = group_perplexities(inputs);
  for (const PerplexityGroup& group : groups) {
    const int64_t longest = group.lengths.back();
    const ModelPerplexity* best = lowest_at(group, longest);
    const std::string scope =
        groups.size() > 1 && !describe(group).empty() ? " (" + describe(group) + ")" : "";
    if (best == nullptr) {
      sentences.push_back(
          fmt::format("No model has a finite perplexity at {} tokens{}.", format_count(longest), scope));
      continue;
    }
    const std::string lowest =
        group.models.size() > 1
            ? lowest_sentence(group, *best, longest)
            : fmt::format("“{}” has a perplexity of {} at {} tokens.", best->label,
                          format_perplexity(perplexity_at(*best, longest)), format_count(longest));
    for (const std::string& sentence :
         {lowest, context_sentence(*best), short_context_sentence(group, *best)})
      if (!sentence.empty()) sentences.push_back(sentence + scope);
  }
}

std::string passkey_sentence(const ModelPasskey& model) {
  size_t num_trials = 0;
  const results::PasskeyLength* worst = &model.lengths.front();
  for (const results::PasskeyLength& length : model.lengths) {
    num_trials += length.trials.size();
    worst = length.accuracy < worst->accuracy ? &length : worst;
  }
  const std::string trials = num_trials > 0
                                 ? fmt::format("{} pass keys", format_count(static_cast<int64_t>(num_trials)))
                                 : std::string("the pass keys");
  std::string sentence = fmt::format("“{}” finds {} of {} in texts of up to {} tokens", model.label,
                                     format_percent(overall_accuracy(model)), trials,
                                     format_count(rounded_tokens(model.lengths.back())));
  if (worst->accuracy < 1.0 && model.lengths.size() > 1) {
    sentence += fmt::format(", at least {} at every length (the lowest at {} tokens)",
                            format_percent(worst->accuracy), format_count(rounded_tokens(*worst)));
  }
  return sentence;
}

void add_passkey(const Inputs& inputs, std::vector<std::string>& sentences) {
  const std::vector<ModelPasskey> models = group_passkeys(inputs);
  if (models.empty()) return;
  const auto best = std::max_element(models.begin(), models.end(), [](const auto& a, const auto& b) {
    return overall_accuracy(a) < overall_accuracy(b);
  });
  std::string sentence = passkey_sentence(*best);
  if (best != models.begin()) {
    sentence += fmt::format("; “{}” finds {}", models.front().label,
                            format_percent(overall_accuracy(models.front())));
  }
  sentences.push_back(sentence + ".");
}

// What a model achieved in all questions, or null where its file has no such line.
const results::AnswerTask* all_tasks(const results::Answers& answers) {
  const results::AnswerTask* all = find_task(answers, "all");
  return all == nullptr && answers.tasks.size() == 1 ? &answers.tasks.front() : all;
}

void add_answers(const Inputs& inputs, std::vector<std::string>& sentences) {
  std::vector<const AnswersFile*> files = shown_answers(inputs);
  std::erase_if(files, [](const AnswersFile* file) { return all_tasks(file->result) == nullptr; });
  if (files.empty()) return;
  const auto best = std::max_element(files.begin(), files.end(), [](const auto* a, const auto* b) {
    return all_tasks(a->result)->exact < all_tasks(b->result)->exact;
  });
  const results::AnswerTask& found = *all_tasks((*best)->result);
  std::string sentence = fmt::format("“{}” answers {} of {} questions word for word", (*best)->label,
                                     format_percent(found.exact), format_count(found.num_questions));
  if (best != files.begin()) {
    sentence += fmt::format("; “{}” {}", files.front()->label,
                            format_percent(all_tasks(files.front()->result)->exact));
  }
  sentences.push_back(sentence + ".");
}

// Says which model finds a text likeliest, where several scored it and they differ.
void add_scores(const Inputs& inputs, std::vector<std::string>& sentences) {
  for (const ScoreGroup& group : group_scores(inputs)) {
    std::vector<const ScoreFile*> files = group.models;
    std::erase_if(files, [](const ScoreFile* file) { return !std::isfinite(file->result.sum); });
    const auto [lowest, highest] =
        std::minmax_element(files.begin(), files.end(),
                            [](const auto* a, const auto* b) { return a->result.sum < b->result.sum; });
    if (files.size() < 2 || (*lowest)->result.sum == (*highest)->result.sum) continue;
    const ScoreFile& best = **highest;
    const ScoreFile& other = highest == files.begin() ? **lowest : *files.front();
    sentences.push_back(fmt::format(
        "“{}” finds a text of {} tokens likeliest, with a perplexity of {}: {} than “{}” ({}).", best.label,
        format_count(static_cast<int64_t>(group.ids.size())), format_perplexity(perplexity_of(best)),
        compared(perplexity_of(best), perplexity_of(other)), other.label,
        format_perplexity(perplexity_of(other))));
  }
}

std::string training_sentence(const TrainingRun& run) {
  const results::TrainStep& last = run.log.steps.back();
  std::string sentence = fmt::format("“{}” was trained for {} steps", run.label, format_count(last.step));
  if (last.tokens >= 0) sentence += fmt::format(" on {} tokens", format_count(last.tokens));
  if (std::isfinite(last.seconds) && last.seconds > 0) {
    sentence += fmt::format(" in {}", format_duration(last.seconds));
    if (last.tokens > 0) {
      sentence += fmt::format(" ({} tokens/s)",
                              format_count(std::llround(static_cast<double>(last.tokens) / last.seconds)));
    }
  }
  if (std::isfinite(early_loss(run.log)) && std::isfinite(late_loss(run.log)) && run.log.steps.size() > 1)
    sentence += fmt::format("; its loss went from {:.3f} to {:.3f}", early_loss(run.log), late_loss(run.log));
  return sentence + ".";
}

}  // namespace

std::vector<std::string> summarize(const Inputs& inputs) {
  std::vector<std::string> sentences;
  add_perplexity(inputs, sentences);
  add_passkey(inputs, sentences);
  add_answers(inputs, sentences);
  add_scores(inputs, sentences);
  for (const TrainingRun& run : inputs.runs)
    if (!run.log.steps.empty()) sentences.push_back(training_sentence(run));
  return sentences;
}

}  // namespace longlora::report
