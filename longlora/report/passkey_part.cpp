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

}  // namespace

std::vector<std::string> PasskeyPart::notes(const Inputs& inputs) {
  std::vector<std::string> notes;
  group_passkeys(inputs, &notes);
  return notes;
}

std::vector<std::string> PasskeyPart::sentences(const Inputs& inputs) {
  const std::vector<ModelPasskey> models = group_passkeys(inputs);
  if (models.empty()) return {};
  const auto best = std::max_element(models.begin(), models.end(), [](const auto& a, const auto& b) {
    return overall_accuracy(a) < overall_accuracy(b);
  });
  std::string sentence = passkey_sentence(*best);
  if (best != models.begin()) {
    sentence += fmt::format("; “{}” finds {}", models.front().label,
                            format_percent(overall_accuracy(models.front())));
  }
  return {sentence + "."};
}

std::vector<NamedTable> PasskeyPart::tables(const Inputs& inputs) {
  const std::vector<ModelPasskey> models = group_passkeys(inputs);
  if (models.empty()) return {};
  const auto value_at = [&](size_t row, int64_t tokens) {
    const results::PasskeyLength* length = find_length(models[row], tokens);
    return length == nullptr ? NAN : length->accuracy;
  };
  Table table =
      model_table(labels_of(models), lengths_measured(models), value_at, format_percent, Best::kHighest);
  table.columns.push_back({"all"});
  for (size_t row = 0; row < models.size(); ++row)
    table.rows[row].push_back({format_percent(overall_accuracy(models[row]))});
  return {{"Pass keys found, by tokens in the prompt", table}};
}

std::vector<Picture> PasskeyPart::pictures(const Gnuplot& gnuplot, const Inputs& inputs) {
  std::vector<Picture> pictures;
  const std::vector<ModelPasskey> models = group_passkeys(inputs);
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
    pictures.push_back({"passkey-map", plot_passkey(gnuplot, panels),
                        "Share of pass keys found (%), by mean length of the prompt in tokens (rows) and by "
                        "how deep in the text the key stands (columns; 0 = start). The last column counts "
                        "all depths; – means that no trial fell there.",
                        "Heat maps of pass keys found by length and depth, one for each model"});
  }
  if (!models.empty()) {
    pictures.push_back({"passkey-bars", plot_bars(gnuplot, passkey_bars(models, inputs)),
                        "Share of pass keys found at each length, all depths together.",
                        "Bars of pass keys found by length for each model"});
  }
  return pictures;
}

}  // namespace longlora::report
