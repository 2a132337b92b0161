#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/comparison.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

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

}  // namespace

std::vector<std::string> TrainingPart::sentences(const Inputs& inputs) {
  std::vector<std::string> sentences;
  for (const TrainingRun& run : inputs.runs)
    if (!run.log.steps.empty()) sentences.push_back(training_sentence(run));
  return sentences;
}

std::vector<NamedTable> TrainingPart::tables(const Inputs& inputs) {
  if (inputs.runs.empty()) return {};
  Table table;
  table.columns = {{"run", Align::kLeft},  {"steps"},       {"tokens"},     {"time"},
                   {"tokens/s"},           {"peak memory"}, {"first loss"}, {"last loss"},
                   {"held-out perplexity"}};
  for (const TrainingRun& run : inputs.runs) table.rows.push_back(run_row(run));
  return {{"Training runs; first and last loss are means over a twentieth of the steps", table}};
}

std::vector<Picture> TrainingPart::pictures(const Gnuplot& gnuplot, const Inputs& inputs) {
  std::vector<LossCurve> curves;
  size_t most_steps = 0;
  for (const TrainingRun& run : inputs.runs) {
    LossCurve curve{run.label, inputs.label_index(run.label), {}, {}, {}};
    for (const results::TrainStep& step : run.log.steps) {
      const auto x = static_cast<double>(step.step);
      curve.loss.push_back({x, step.loss});
      curve.learning_rate.push_back({x, step.learning_rate});
    }
    for (const results::TrainEvaluation& evaluation : run.log.evaluations)
      curve.evaluation_loss.push_back({static_cast<double>(evaluation.step), evaluation.loss});
    most_steps = std::max(most_steps, curve.loss.size());
    curves.push_back(std::move(curve));
  }
  if (curves.empty()) return {};
  return {
      {"loss", plot_loss(gnuplot, curves),
       fmt::format(
           "Training loss: every step (thin) and its running mean (thick; {} steps in the longest run), with "
           "the loss on held-out text (markers) where it was measured. Below, the learning rate.",
           smoothing_window(most_steps)),
       "Curves of training loss and learning rate by step for each run"}};
}

}  // namespace longlora::report
