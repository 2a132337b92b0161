#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "longlora/core/format.h"
#include "longlora/report/comparison.h"
#include "longlora/report/report.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

enum class Best { kLowest, kHighest };

// Marks the best finite value of each column, and all that equal it, where there is something to compare and
// not all values are equal.
void mark_best(Table& table, const std::vector<std::vector<double>>& values, Best which) {
  for (size_t column = 1; column < table.columns.size(); ++column) {
    std::vector<double> finite;
    for (const auto& row : values)
      if (std::isfinite(row[column - 1])) finite.push_back(row[column - 1]);
    if (finite.size() < 2) continue;
    const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
    const double best = which == Best::kLowest ? *low : *high;
    for (size_t row = 0; row < values.size() && *low != *high; ++row)
      table.rows[row][column].is_best = values[row][column - 1] == best;
  }
}

// A table of models × lengths; `value_at` gives NaN where there is no value.
Table model_table(const std::vector<std::string>& labels, const std::vector<int64_t>& lengths,
                  const std::function<double(size_t, int64_t)>& value_at, std::string (*format)(double),
                  Best which) {
  Table table;
  table.columns.push_back({"model", Align::kLeft});
  for (const int64_t length : lengths) table.columns.push_back({format_count(length)});
  std::vector<std::vector<double>> values;
  for (size_t row = 0; row < labels.size(); ++row) {
    table.rows.push_back({{labels[row]}});
    values.emplace_back();
    for (const int64_t length : lengths) {
      values.back().push_back(value_at(row, length));
      table.rows.back().push_back({format(values.back().back())});
    }
  }
  mark_best(table, values, which);
  return table;
}

template <typename Model>
std::vector<std::string> labels_of(const std::vector<Model>& models) {
  std::vector<std::string> labels;
  labels.reserve(models.size());
  for (const Model& model : models) labels.push_back(model.label);
  return labels;
}

void add_perplexity_tables(const Inputs& inputs, std::vector<NamedTable>& tables) {
  for (const PerplexityGroup& group : group_perplexities(inputs)) {
    const auto column = [&](double results::PerplexityPoint::*member) {
      return [&group, member](size_t row, int64_t length) {
        const results::PerplexityPoint* point = find_point(group.models[row], length);
        return point == nullptr ? NAN : point->*member;
      };
    };
    const std::string scope = describe(group).empty() ? "" : " (" + describe(group) + ")";
    tables.push_back(
        {Topic::kPerplexity, "Perplexity by tokens of context" + scope,
         model_table(labels_of(group.models), group.lengths, column(&results::PerplexityPoint::perplexity),
                     format_perplexity, Best::kLowest)});
    const bool has_accuracy = std::any_of(group.models.begin(), group.models.end(), [](const auto& model) {
      return std::any_of(model.points.begin(), model.points.end(),
                         [](const auto& point) { return std::isfinite(point.accuracy); });
    });
    if (has_accuracy) {
      tables.push_back(
          {Topic::kPerplexity, "Next token predicted, by tokens of context" + scope,
           model_table(labels_of(group.models), group.lengths, column(&results::PerplexityPoint::accuracy),
                       format_percent, Best::kHighest)});
    }
  }
}

void add_passkey_table(const Inputs& inputs, std::vector<NamedTable>& tables) {
  const std::vector<ModelPasskey> models = group_passkeys(inputs);
  if (models.empty()) return;
  const auto value_at = [&](size_t row, int64_t tokens) {
    const results::PasskeyLength* length = find_length(models[row], tokens);
    return length == nullptr ? NAN : length->accuracy;
  };
  Table table =
      model_table(labels_of(models), lengths_measured(models), value_at, format_percent, Best::kHighest);
  table.columns.push_back({"all"});
  for (size_t row = 0; row < models.size(); ++row)
    table.rows[row].push_back({format_percent(overall_accuracy(models[row]))});
  tables.push_back({Topic::kPasskey, "Pass keys found, by tokens in the prompt", table});
}

void add_answer_table(const Inputs& inputs, std::vector<NamedTable>& tables) {
  const std::vector<const AnswersFile*> files = shown_answers(inputs);
  if (files.empty()) return;
  const std::vector<std::string> tasks = tasks_of(files);
  Table table;
  table.columns.push_back({"model", Align::kLeft});
  for (const std::string& task : tasks) table.columns.push_back({task});
  std::vector<std::vector<double>> values;
  for (const AnswersFile* file : files) {
    table.rows.push_back({{file->label}});
    values.emplace_back();
    for (const std::string& name : tasks) {
      const results::AnswerTask* task = find_task(file->result, name);
      values.back().push_back(task == nullptr ? NAN : task->exact);
      table.rows.back().push_back({task == nullptr ? "—"
                                                   : fmt::format("{} of {}", format_percent(task->exact),
                                                                 format_count(task->num_questions))});
    }
  }
  mark_best(table, values, Best::kHighest);
  tables.push_back({Topic::kAnswers, "Questions answered word for word, by task", table});
}

std::string format_logprob(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : "—";
}

// Adds one table for each list of ids, because only scores of the same text can be compared.
void add_score_tables(const Inputs& inputs, std::vector<NamedTable>& tables) {
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
    tables.push_back({Topic::kScores,
                      fmt::format("Scores of a text of {} tokens{}",
                                  format_count(static_cast<int64_t>(group.ids.size())), which),
                      table});
  }
}

Cell count_cell(int64_t count) {
  return {count < 0 ? "—" : format_count(count)};
}

Cell loss_cell(double loss) {
  return {std::isfinite(loss) ? fmt::format("{:.4f}", loss) : "—"};
}

std::vector<Cell> run_row(const TrainingRun& run) {
  const std::vector<results::TrainStep>& steps = run.log.steps;
  const results::TrainStep last = steps.empty() ? results::TrainStep{} : steps.back();
  const bool is_timed = !steps.empty() && std::isfinite(last.seconds) && last.seconds > 0;
  int64_t peak = -1;
  for (const results::TrainStep& step : steps) peak = std::max(peak, step.peak_memory_bytes);
  const double rate = is_timed && last.tokens > 0 ? static_cast<double>(last.tokens) / last.seconds : -1;
  const bool is_evaluated = !run.log.evaluations.empty();
  return {{run.label},
          count_cell(last.step),
          count_cell(last.tokens),
          {is_timed ? format_duration(last.seconds) : "—"},
          count_cell(std::llround(rate)),
          {peak < 0 ? "—" : format_bytes(peak)},
          loss_cell(early_loss(run.log)),
          loss_cell(late_loss(run.log)),
          {is_evaluated ? format_perplexity(run.log.evaluations.back().perplexity) : "—"}};
}

void add_run_table(const Inputs& inputs, std::vector<NamedTable>& tables) {
  if (inputs.runs.empty()) return;
  Table table;
  table.columns = {{"run", Align::kLeft},  {"steps"},       {"tokens"},     {"time"},
                   {"tokens/s"},           {"peak memory"}, {"first loss"}, {"last loss"},
                   {"held-out perplexity"}};
  for (const TrainingRun& run : inputs.runs) table.rows.push_back(run_row(run));
  tables.push_back({Topic::kTraining,
                    "Training runs; first and last loss are means over a twentieth of the steps", table});
}

}  // namespace

std::vector<NamedTable> make_tables(const Inputs& inputs) {
  std::vector<NamedTable> tables;
  add_perplexity_tables(inputs, tables);
  add_passkey_table(inputs, tables);
  add_answer_table(inputs, tables);
  add_score_tables(inputs, tables);
  add_run_table(inputs, tables);
  return tables;
}

}  // namespace longlora::report
