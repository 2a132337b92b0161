// The pictures of a report. Each function draws one and returns it as PNG, twice
// as many pixels as its nominal size so that it is sharp on fine screens. All
// throw as Gnuplot::draw does. Points that are not finite are left out.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "longlora/report/gnuplot.h"

namespace longlora::report {

struct PlotPoint {
  double x = 0;
  double y = 0;
};

/// What is drawn of one model, in the colour and marker that belong to `model`
/// (its place among all models of the report) in every picture.
struct ModelCurve {
  std::string name;
  size_t model = 0;
  std::vector<PlotPoint> points;
};

struct LossCurve {
  std::string name;
  size_t model = 0;
  std::vector<PlotPoint> loss;             // by step
  std::vector<PlotPoint> evaluation_loss;  // by step, on held-out data
  std::vector<PlotPoint> learning_rate;    // by step
};

/// Steps over which smooth() averages a curve of `num_points`: about a 25th of it, odd.
int smoothing_window(size_t num_points);

/// Centred running mean over `window` points, fewer at the ends.
std::vector<PlotPoint> smooth(const std::vector<PlotPoint>& points, int window);

/// Loss by step, raw (thin) and smoothed (thick), held-out loss as markers, and
/// the learning rate below.
std::string plot_loss(const Gnuplot& gnuplot, const std::vector<LossCurve>& curves);

/// Perplexity by length in tokens; x is logarithmic to base 2, y logarithmic
/// where the values span more than a factor of three. Values at the right end
/// of each curve are written beside it. Requires a finite value.
std::string plot_perplexity(const Gnuplot& gnuplot, const std::string& title,
                            const std::vector<ModelCurve>& curves);

constexpr size_t kNumDepthBins = 5;  // 0–20 %, 20–40 %, … of the text

/// Share of trials in which the key was found; no value where there was no trial.
struct PasskeyRow {
  std::string length;  // "1,024"
  std::array<std::optional<double>, kNumDepthBins> by_depth;
  double accuracy = 0;  // over all depths
};

struct PasskeyPanel {
  std::string name;
  std::vector<PasskeyRow> rows;  // from the shortest text
};

/// Length × depth, one panel for each model, found shares in the cells. Requires a panel with a row.
std::string plot_passkey(const Gnuplot& gnuplot, const std::vector<PasskeyPanel>& panels);

struct BarSeries {
  std::string name;
  size_t model = 0;
  std::vector<double> values;       // one for each group; not finite = no bar
  std::vector<std::string> labels;  // the same values as text
};

struct GroupedBars {
  std::string title;
  std::string group_axis;
  std::string value_axis;
  std::vector<std::string> groups;
  std::vector<BarSeries> series;
  double value_limit = 0;  // upper end of the axis; 0: chosen from the values
};

/// Bars side by side within each group, one for each model.
std::string plot_bars(const Gnuplot& gnuplot, const GroupedBars& bars);

}  // namespace longlora::report
