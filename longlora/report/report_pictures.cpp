#include "longlora/report/report_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/comparison.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

// Models beyond this multiple of the lowest perplexity stay out of the close-up.
constexpr double kCloseUpRatio = 1.6;
// How many columns of text the name of a task may take below its bars.
constexpr int kMaxTaskWidth = 20;

class Painter {
 public:
  Painter(const Gnuplot& gnuplot, const Inputs& inputs) : gnuplot_(gnuplot), inputs_(inputs) {}

  void perplexity();
  void passkey();
  void answers();
  void training();
  std::vector<Picture> take() { return std::move(pictures_); }

 private:
  void perplexity_group(const PerplexityGroup& group, const std::string& suffix);

  const Gnuplot& gnuplot_;
  const Inputs& inputs_;
  std::vector<Picture> pictures_;
};

double largest(const ModelCurve& curve) {
  double value = 0;
  for (const PlotPoint& point : curve.points) {
    // A point that is not finite counts as farthest from the best.
    value = std::isfinite(point.y) ? std::max(value, point.y) : HUGE_VAL;
  }
  return value;
}

// The curves that stay near the lowest value; empty when all of them do, or none.
std::vector<ModelCurve> close_up(const std::vector<ModelCurve>& curves) {
  double lowest = HUGE_VAL;
  for (const ModelCurve& curve : curves) {
    for (const PlotPoint& point : curve.points)
      lowest = std::isfinite(point.y) ? std::min(lowest, point.y) : lowest;
  }
  std::vector<ModelCurve> near = curves;
  std::erase_if(near, [&](const ModelCurve& curve) { return largest(curve) > lowest * kCloseUpRatio; });
  return near.size() == curves.size() ? std::vector<ModelCurve>{} : near;
}

std::string names_of(const std::vector<ModelCurve>& curves) {
  std::vector<std::string> names;
  names.reserve(curves.size());
  for (const ModelCurve& curve : curves) names.push_back("“" + curve.name + "”");
  return fmt::format("{}", fmt::join(names, ", "));
}

void Painter::perplexity_group(const PerplexityGroup& group, const std::string& suffix) {
  std::vector<ModelCurve> curves;
  bool any_finite = false;
  for (const ModelPerplexity& model : group.models) {
    ModelCurve curve{model.label, inputs_.label_index(model.label), {}};
    for (const results::PerplexityPoint& point : model.points) {
      curve.points.push_back({static_cast<double>(point.seq_len), point.perplexity});
      any_finite = any_finite || std::isfinite(point.perplexity);
    }
    curves.push_back(std::move(curve));
  }
  if (!any_finite) return;
  const std::string scope = describe(group).empty() ? "" : fmt::format(" ({})", describe(group));
  pictures_.push_back({Topic::kPerplexity, "perplexity" + suffix,
                       plot_perplexity(gnuplot_, "Perplexity by length of context", curves),
                       fmt::format("Perplexity by tokens of context{}; lower is better. The figures at the "
                                   "right end are the values at each model's longest context.",
                                   scope),
                       fmt::format("Curves of perplexity by context length for {}", names_of(curves))});
  const std::vector<ModelCurve> near = close_up(curves);
  if (!near.empty() && group.lengths.size() > 1) {
    pictures_.push_back(
        {Topic::kPerplexity, "perplexity-closeup" + suffix,
         plot_perplexity(gnuplot_, "Close-up: perplexity by length of context", near),
         fmt::format("Close-up of the same: only models that stay within {} times the lowest perplexity.",
                     kCloseUpRatio),
         fmt::format("Close-up of the perplexity curves of {}", names_of(near))});
  }
}

void Painter::perplexity() {
  const std::vector<PerplexityGroup> groups = group_perplexities(inputs_);
  for (size_t i = 0; i < groups.size(); ++i)
    perplexity_group(groups[i], i == 0 ? "" : fmt::format("-{}", i + 1));
}

PasskeyRow passkey_row(const results::PasskeyLength& length) {
  PasskeyRow row;
  row.length = format_count(rounded_tokens(length));
  row.accuracy = length.accuracy;
  std::array<int, kNumDepthBins> num_trials{};
  std::array<int, kNumDepthBins> num_correct{};
  for (const results::PasskeyTrial& trial : length.trials) {
    const size_t bin = std::min(static_cast<size_t>(trial.depth * kNumDepthBins), kNumDepthBins - 1);
    ++num_trials[bin];
    num_correct[bin] += trial.correct ? 1 : 0;
  }
  for (size_t bin = 0; bin < kNumDepthBins; ++bin)
    if (num_trials[bin] > 0) row.by_depth[bin] = static_cast<double>(num_correct[bin]) / num_trials[bin];
  return row;
}

GroupedBars passkey_bars(const std::vector<ModelPasskey>& models, const Inputs& inputs) {
  GroupedBars bars;
  bars.title = "Pass keys found by length";
  bars.group_axis = "tokens in the prompt (mean)";
  bars.value_axis = "found (%)";
  bars.value_limit = 100;
  const std::vector<int64_t> lengths = lengths_measured(models);
  for (const int64_t tokens : lengths) bars.groups.push_back(format_count(tokens));
  for (const ModelPasskey& model : models) {
    BarSeries series{model.label, inputs.label_index(model.label), {}, {}};
    for (const int64_t tokens : lengths) {
      const results::PasskeyLength* length = find_length(model, tokens);
      series.values.push_back(length == nullptr ? NAN : length->accuracy * 100);
      series.labels.push_back(length == nullptr ? "" : fmt::format("{:.0f}", length->accuracy * 100));
    }
    bars.series.push_back(std::move(series));
  }
  return bars;
}

void Painter::passkey() {
  const std::vector<ModelPasskey> models = group_passkeys(inputs_);
  std::vector<PasskeyPanel> panels;
  for (const ModelPasskey& model : models) {
    PasskeyPanel panel{model.label, {}};
    bool any_trial = false;
    for (const results::PasskeyLength& length : model.lengths) {
      panel.rows.push_back(passkey_row(length));
      any_trial = any_trial || !length.trials.empty();
    }
    if (any_trial) panels.push_back(std::move(panel));
  }
  if (!panels.empty()) {
    pictures_.push_back({Topic::kPasskey, "passkey-map", plot_passkey(gnuplot_, panels),
                         "Share of pass keys found (%), by mean length of the prompt in tokens (rows) and by "
                         "how deep in the text the key stands (columns; 0 = start). The last column counts "
                         "all depths; – means that no trial fell there.",
                         "Heat maps of pass keys found by length and depth, one for each model"});
  }
  if (!models.empty()) {
    pictures_.push_back({Topic::kPasskey, "passkey-bars", plot_bars(gnuplot_, passkey_bars(models, inputs_)),
                         "Share of pass keys found at each length, all depths together.",
                         "Bars of pass keys found by length for each model"});
  }
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

void Painter::answers() {
  const std::vector<const AnswersFile*> files = shown_answers(inputs_);
  if (files.empty()) return;
  pictures_.push_back({Topic::kAnswers, "answers", plot_bars(gnuplot_, answer_bars(files, inputs_)),
                       "Share of questions answered word for word, by task.",
                       "Bars of questions answered by task for each model"});
}

void Painter::training() {
  std::vector<LossCurve> curves;
  size_t most_steps = 0;
  for (const TrainingRun& run : inputs_.runs) {
    LossCurve curve{run.label, inputs_.label_index(run.label), {}, {}, {}};
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
  if (curves.empty()) return;
  pictures_.push_back(
      {Topic::kTraining, "loss", plot_loss(gnuplot_, curves),
       fmt::format(
           "Training loss: every step (thin) and its running mean (thick; {} steps in the longest run), with "
           "the loss on held-out text (markers) where it was measured. Below, the learning rate.",
           smoothing_window(most_steps)),
       "Curves of training loss and learning rate by step for each run"});
}

}  // namespace

std::vector<Picture> draw_pictures(const Gnuplot& gnuplot, const Inputs& inputs) {
  Painter painter(gnuplot, inputs);
  painter.perplexity();
  painter.passkey();
  painter.answers();
  painter.training();
  return painter.take();
}

}  // namespace longlora::report
