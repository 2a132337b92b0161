#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/comparison.h"
#include "longlora/report/model_table.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

std::string format_logprob(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : "—";
}

}  // namespace

std::vector<std::string> ScorePart::notes(const Inputs& inputs) {
  std::vector<std::string> notes;
  group_scores(inputs, &notes);
  return notes;
}

// Says which model finds a text likeliest, where several scored it and they differ.
std::vector<std::string> ScorePart::sentences(const Inputs& inputs) {
  std::vector<std::string> sentences;
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
  return sentences;
}

// There is one table for each list of ids, because only scores of the same text can be compared.
std::vector<NamedTable> ScorePart::tables(const Inputs& inputs) {
  std::vector<NamedTable> tables;
  const std::vector<ScoreGroup> groups = group_scores(inputs);
  for (size_t text = 0; text < groups.size(); ++text) {
    const ScoreGroup& group = groups[text];
    Table table{{{"model", Align::kLeft}, {"log-probability"}, {"a token"}, {"perplexity"}}, {}};
    std::vector<std::vector<double>> values;
    for (const ScoreFile* file : group.models) {
      const double sum = file->result.sum, mean = sum / static_cast<double>(file->result.num_scored());
      table.rows.push_back({{file->label},
                            {format_logprob(sum)},
                            {format_logprob(mean)},
                            {format_perplexity(perplexity_of(*file))}});
      values.push_back({sum, mean, -perplexity_of(*file)});
    }
    mark_best(table, values, Best::kHighest);
    const std::string which = groups.size() == 1 ? "" : fmt::format(", text {}", text + 1);
    tables.push_back({fmt::format("Scores of a text of {} tokens{}",
                                  format_count(static_cast<int64_t>(group.ids.size())), which),
                      table});
  }
  return tables;
}

}  // namespace longlora::report
