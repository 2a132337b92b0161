#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/comparison.h"
#include "longlora/report/model_table.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

// How many columns of text the name of a task may take below its bars.
constexpr int kMaxTaskWidth = 20;

// What a model achieved in all questions, or null where its file has no such line.
const results::AnswerTask* all_tasks(const results::Answers& answers) {
  const results::AnswerTask* all = find_task(answers, "all");
  return all == nullptr && answers.tasks.size() == 1 ? &answers.tasks.front() : all;
}

GroupedBars answer_bars(const std::vector<const AnswersFile*>& files, const Inputs& inputs) {
  GroupedBars bars;
  bars.title = "Questions answered word for word";
  bars.group_axis = "task";
  bars.value_axis = "exact (%)";
  bars.value_limit = 100;
  const std::vector<std::string> tasks = tasks_of(files);
  for (const std::string& name : tasks) bars.groups.push_back(shorten(name, kMaxTaskWidth));
  for (const AnswersFile* file : files) {
    BarSeries series{file->label, inputs.label_index(file->label), {}, {}};
    for (const std::string& name : tasks) {
      const results::AnswerTask* task = find_task(file->result, name);
      series.values.push_back(task == nullptr ? NAN : task->exact * 100);
      series.labels.push_back(task == nullptr ? "" : fmt::format("{:.0f}", task->exact * 100));
    }
    bars.series.push_back(std::move(series));
  }
  return bars;
}

}  // namespace

std::vector<std::string> AnswersPart::notes(const Inputs& inputs) {
  std::vector<std::string> notes;
  shown_answers(inputs, &notes);
  return notes;
}

std::vector<std::string> AnswersPart::sentences(const Inputs& inputs) {
  std::vector<const AnswersFile*> files = shown_answers(inputs);
  std::erase_if(files, [](const AnswersFile* file) { return all_tasks(file->result) == nullptr; });
  if (files.empty()) return {};
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
  return {sentence + "."};
}

std::vector<NamedTable> AnswersPart::tables(const Inputs& inputs) {
  const std::vector<const AnswersFile*> files = shown_answers(inputs);
  if (files.empty()) return {};
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
  return {{"Questions answered word for word, by task", table}};
}

std::vector<Picture> AnswersPart::pictures(const Gnuplot& gnuplot, const Inputs& inputs) {
  const std::vector<const AnswersFile*> files = shown_answers(inputs);
  if (files.empty()) return {};
  return {{"answers", plot_bars(gnuplot, answer_bars(files, inputs)),
           "Share of questions answered word for word, by task.",
           "Bars of questions answered by task for each model"}};
}

}  // namespace longlora::report
