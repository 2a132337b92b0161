#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "longlora/core/format.h"
#include "longlora/report/plot_style.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr int kBaseHeight = 450;  // of a picture without its legend
constexpr double kLogRatio = 3.0;
constexpr double kLineHeight = 17;  // the least distance of labels at the right end, in nominal units
constexpr size_t kMaxLengthTicks = 12;

std::string tick_label(double value) {
  return value >= 1000 && value < 1e15 ? format_count(std::llround(value)) : fmt::format("{:.6g}", value);
}

Axis length_axis(const std::vector<ModelCurve>& curves) {
  std::set<double> lengths;
  for (const ModelCurve& curve : curves)
    for (const PlotPoint& point : curve.points) lengths.insert(point.x);
  Axis axis;
  axis.is_logarithmic = true;
  axis.ticks.assign(lengths.begin(), lengths.end());
  axis.low = axis.ticks.front() / 1.12;
  axis.high = axis.ticks.back() * 1.12;
  while (axis.ticks.size() > kMaxLengthTicks) {
    // Every second tick stays, counted from the longest length, so that this one keeps its label.
    std::vector<double> fewer;
    for (size_t i = 0; i < axis.ticks.size(); ++i)
      if ((axis.ticks.size() - 1 - i) % 2 == 0) fewer.push_back(axis.ticks[i]);
    axis.ticks = std::move(fewer);
  }
  return axis;
}

struct EndLabel {
  std::string text;
  std::string color;
  double x = 0;
  double y_units = 0;  // the height above the bottom of the plot, in nominal units
};

double height_of(double value, const Axis& axis, double plot_height) {
  const double share = axis.is_logarithmic ? std::log(value / axis.low) / std::log(axis.high / axis.low)
                                           : (value - axis.low) / (axis.high - axis.low);
  return share * plot_height;
}

// The labels with the last value of each curve, pushed apart where they would overlap.
std::vector<EndLabel> end_labels(const std::vector<ModelCurve>& curves, const Axis& y, double plot_height) {
  std::vector<EndLabel> labels;
  for (const ModelCurve& curve : curves) {
    if (!curve.points.empty()) {
      const PlotPoint& last = curve.points.back();
      labels.push_back({format_perplexity(last.y), model_text_color(curve.model), last.x,
                        height_of(last.y, y, plot_height)});
    }
  }
  std::stable_sort(labels.begin(), labels.end(),
                   [](const EndLabel& a, const EndLabel& b) { return a.y_units < b.y_units; });
  // Each pass pushes neighbours that overlap apart, both by half of what is missing.
  for (int pass = 0; pass < 200; ++pass) {
    for (size_t i = 1; i < labels.size(); ++i) {
      const double lack = kLineHeight - (labels[i].y_units - labels[i - 1].y_units);
      if (labels[i].x == labels[i - 1].x && lack > 0) {
        labels[i].y_units += lack / 2;
        labels[i - 1].y_units -= lack / 2;
      }
    }
  }
  return labels;
}

}  // namespace

std::string plot_perplexity(const Gnuplot& gnuplot, const std::string& title,
                            const std::vector<ModelCurve>& all_curves) {
  std::vector<ModelCurve> curves;
  std::vector<std::string> names;
  std::vector<double> values;
  for (ModelCurve curve : all_curves) {
    std::erase_if(curve.points, [](const PlotPoint& p) { return !std::isfinite(p.y) || p.y <= 0; });
    for (const PlotPoint& point : curve.points) values.push_back(point.y);
    if (!curve.points.empty()) {
      names.push_back(curve.name);
      curves.push_back(std::move(curve));
    }
  }
  const Axis x = length_axis(curves);
  const Axis y = make_axis(values, kLogRatio);
  Margins margins;
  margins.right = 84;
  const Legend legend = make_legend(names, kPlotWidth - margins.left - margins.right);
  const int height = kBaseHeight + static_cast<int>(legend.height);
  margins.top = 54 + legend.height;
  std::vector<std::string> x_labels;
  std::vector<std::string> y_labels;
  for (const double tick : x.ticks) x_labels.push_back(format_count(std::llround(tick)));
  for (const double tick : y.ticks) y_labels.push_back(tick_label(tick));
  std::string script = plot_head(title, height) + set_legend(legend, height) + set_margins(margins, height) +
                       fmt::format(
                           "set xlabel 'tokens of context' textcolor rgb '#444444'\n"
                           "set ylabel 'perplexity (lower is better){}' textcolor rgb '#444444'\n",
                           y.is_logarithmic ? ", logarithmic" : "") +
                       set_axis('x', x, x_labels) + set_axis('y', y, y_labels);
  const double plot_height = height - margins.top - margins.bottom;
  int number = 10;
  for (const EndLabel& label : end_labels(curves, y, plot_height)) {
    script +=
        fmt::format("set label {} {} at first {}, graph {:.5f} left offset 1.2,0 textcolor rgb '{}'\n",
                    number++, quote_gnuplot(label.text), label.x, label.y_units / plot_height, label.color);
  }
  std::vector<std::string> parts;
  for (size_t i = 0; i < curves.size(); ++i) {
    script += fmt::format("$curve{} << EOD\n", i);
    for (const PlotPoint& point : curves[i].points) script += fmt::format("{} {}\n", point.x, point.y);
    script += "EOD\n";
    parts.push_back(
        fmt::format("$curve{} using 1:2 with linespoints linewidth 2.2 dashtype {} pointtype {} pointsize "
                    "1.2 linecolor rgb "
                    "'{}' title {}",
                    i, model_dash(curves[i].model), model_marker(curves[i].model),
                    model_color(curves[i].model), quote_gnuplot(legend_name(curves[i].name))));
  }
  return gnuplot.draw(script + fmt::format("plot {}\n", fmt::join(parts, ", \\\n     ")));
}

}  // namespace longlora::report
