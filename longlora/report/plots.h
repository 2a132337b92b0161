// Draws the pictures of a report. Each function returns one as a PNG with twice as many pixels as its nominal
// size, so that it is sharp on fine screens. All throw as Gnuplot::draw does. Points that are not finite are
// left out.
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

/// What is drawn of one model, in every picture in the colour and with the marker that belong to `model`, its
/// place among all models of the report.
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

/// The number of steps over which smooth() averages a curve of `num_points`: about a 25th of them, and odd.
int smoothing_window(size_t num_points);

/// The centred running mean over `window` points, fewer at the ends.
std::vector<PlotPoint> smooth(const std::vector<PlotPoint>& points, int window);

/// Draws the loss by step, raw (thin) and smoothed (thick), the held-out loss as markers, and the learning
/// rate below.
std::string plot_loss(const Gnuplot& gnuplot, const std::vector<LossCurve>& curves);

/// Draws the perplexity by length in tokens. x is logarithmic to base 2, and y is logarithmic where the
/// values span more than a factor of three. The last value of each curve is written beside its right end.
/// Requires a finite value.
std::string plot_perplexity(const Gnuplot& gnuplot, const std::string& title,
                            const std::vector<ModelCurve>& curves);

constexpr size_t kNumDepthBins = 5;  // the parts 0–20 %, 20–40 %, … of the text

/// The shares of trials in which the key was found; no value where there was no trial.
struct PasskeyRow {
  std::string length;  // "1,024"
  std::array<std::optional<double>, kNumDepthBins> by_depth;
  double accuracy = 0;  // over all depths
};

struct PasskeyPanel {
  std::string name;
  std::vector<PasskeyRow> rows;  // from the shortest text
};

/// Draws a panel for each model: lengths × depths, with the found shares in the cells. Requires a panel with
/// a row.
std::string plot_passkey(const Gnuplot& gnuplot, const std::vector<PasskeyPanel>& panels);

struct BarSeries {
  std::string name;
  size_t model = 0;
  std::vector<double> values;       // one for each group; one that is not finite has no bar
  std::vector<std::string> labels;  // the same values as text
};

struct GroupedBars {
  std::string title;
  std::string group_axis;
  std::string value_axis;
  std::vector<std::string> groups;
  std::vector<BarSeries> series;
  double value_limit = 0;  // the upper end of the axis; 0: chosen from the values
};

/// Draws bars side by side within each group, one for each model.
std::string plot_bars(const Gnuplot& gnuplot, const GroupedBars& bars);

}  // namespace longlora::report
