#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/plot_style.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr int kBaseHeight = 530;  // of a picture without its legend
constexpr double kRatePanelHeight = 84;

std::string datablock(const std::string& name, const std::vector<PlotPoint>& points) {
  std::string out = fmt::format("${} << EOD\n", name);
  for (const PlotPoint& point : points)
    out += std::isfinite(point.y) ? fmt::format("{} {}\n", point.x, point.y) : "\n";
  return out + "EOD\n";
}

bool has_finite(const std::vector<PlotPoint>& points) {
  return std::any_of(points.begin(), points.end(), [](const PlotPoint& p) { return std::isfinite(p.y); });
}

std::vector<double> all_losses(const std::vector<LossCurve>& curves) {
  std::vector<double> values;
  for (const LossCurve& curve : curves) {
    for (const auto* points : {&curve.loss, &curve.evaluation_loss}) {
      for (const PlotPoint& point : *points)
        if (std::isfinite(point.y)) values.push_back(point.y);
    }
  }
  return values.empty() ? std::vector<double>{0.0, 1.0} : values;
}

// An axis from the first to the last step, which is the same in both panels.
Axis step_axis(const std::vector<LossCurve>& curves) {
  double last = 1;
  for (const LossCurve& curve : curves) {
    for (const auto* points : {&curve.loss, &curve.evaluation_loss})
      last = points->empty() ? last : std::max(last, points->back().x);
  }
  Axis axis = make_axis({0.0, last}, HUGE_VAL);
  axis.low = 0;
  axis.high = last;
  std::erase_if(axis.ticks, [&](double tick) { return tick < 0 || tick > last || tick != std::floor(tick); });
  return axis;
}

std::vector<std::string> labels_of(const Axis& axis, std::string (*format)(double)) {
  std::vector<std::string> labels;
  for (const double tick : axis.ticks) labels.push_back(format(tick));
  return labels;
}

std::string format_step(double step) {
  return format_count(std::llround(step));
}

std::string plot_command(const std::vector<LossCurve>& curves) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < curves.size(); ++i) {
    const std::string color = model_color(curves[i].model);
    // The raw curve is drawn first, in the same hue and nearly transparent.
    parts.push_back(fmt::format("$raw{} using 1:2 with lines linewidth 0.8 linecolor rgb '#B0{}' notitle", i,
                                color.substr(1)));
  }
  bool any_evaluation = false;
  for (size_t i = 0; i < curves.size(); ++i) {
    const std::string color = model_color(curves[i].model);
    parts.push_back(
        fmt::format("$smooth{} using 1:2 with lines linewidth 2.2 dashtype {} linecolor rgb '{}' title {}", i,
                    model_dash(curves[i].model), color, quote_gnuplot(legend_name(curves[i].name))));
    if (has_finite(curves[i].evaluation_loss)) {
      any_evaluation = true;
      parts.push_back(
          fmt::format("$eval{} using 1:2 with points pointtype {} pointsize 1.2 linecolor rgb '{}' notitle",
                      i, model_marker(curves[i].model), color));
    }
  }
  if (any_evaluation && curves.size() > 1) {
    parts.push_back(
        "NaN with points pointtype 7 pointsize 1.2 linecolor rgb '#888888' title 'on held-out text'");
  }
  return "plot " + fmt::format("{}", fmt::join(parts, ", \\\n     ")) + "\n";
}

std::string rate_panel(const std::vector<LossCurve>& curves, const Axis& steps) {
  double highest = 0;
  std::string plot;
  for (size_t i = 0; i < curves.size(); ++i) {
    for (const PlotPoint& point : curves[i].learning_rate)
      highest = std::isfinite(point.y) ? std::max(highest, point.y) : highest;
    if (has_finite(curves[i].learning_rate)) {
      plot += fmt::format(
          "{}$rate{} using 1:2 with lines linewidth 1.6 dashtype {} linecolor rgb '{}' notitle",
          plot.empty() ? "plot " : ", ", i, model_dash(curves[i].model), model_color(curves[i].model));
    }
  }
  Axis axis;
  axis.high = highest > 0 ? highest * 1.15 : 1.0;
  axis.ticks = {0.0, highest};
  return "unset key\nunset label 1\nset label 2 'learning rate' at graph 0, graph 1.0 left offset 0,0.9 "
         "textcolor "
         "rgb '#444444'\nunset ylabel\nset xlabel 'step' textcolor rgb '#444444'\n" +
         set_axis('x', steps, labels_of(steps, format_step)) +
         set_axis('y', axis, labels_of(axis, format_short)) + plot + "\n";
}

}  // namespace

int smoothing_window(size_t num_points) {
  return std::max(1, static_cast<int>(num_points / 25)) / 2 * 2 + 1;
}

std::vector<PlotPoint> smooth(const std::vector<PlotPoint>& points, int window) {
  const auto half = static_cast<ptrdiff_t>(window / 2);
  const auto size = static_cast<ptrdiff_t>(points.size());
  std::vector<PlotPoint> result;
  for (ptrdiff_t i = 0; i < size; ++i) {
    double sum = 0;
    int count = 0;
    for (ptrdiff_t j = std::max<ptrdiff_t>(0, i - half); j <= std::min(i + half, size - 1); ++j) {
      if (std::isfinite(points[static_cast<size_t>(j)].y)) {
        sum += points[static_cast<size_t>(j)].y;
        ++count;
      }
    }
    const PlotPoint& here = points[static_cast<size_t>(i)];
    result.push_back({here.x, count > 0 ? sum / count : here.y});
  }
  return result;
}

std::string plot_loss(const Gnuplot& gnuplot, const std::vector<LossCurve>& curves) {
  std::vector<std::string> names;
  bool any_rate = false;
  bool any_evaluation = false;
  std::string data;
  for (size_t i = 0; i < curves.size(); ++i) {
    names.push_back(curves[i].name);
    any_rate = any_rate || has_finite(curves[i].learning_rate);
    any_evaluation = any_evaluation || has_finite(curves[i].evaluation_loss);
    data += datablock(fmt::format("raw{}", i), curves[i].loss);
    data += datablock(fmt::format("smooth{}", i),
                      smooth(curves[i].loss, smoothing_window(curves[i].loss.size())));
    data += datablock(fmt::format("eval{}", i), curves[i].evaluation_loss);
    data += datablock(fmt::format("rate{}", i), curves[i].learning_rate);
  }
  if (any_evaluation && curves.size() > 1) names.emplace_back("on held-out text");
  const Axis steps = step_axis(curves);
  Axis losses = make_axis(all_losses(curves), HUGE_VAL);

  Margins margins;
  const Legend legend = make_legend(names, kPlotWidth - margins.left - margins.right);
  const int height = kBaseHeight + static_cast<int>(legend.height);
  margins.top = 54 + legend.height;
  const double rate_room = any_rate ? kRatePanelHeight + 36 : 0;
  margins.bottom += rate_room;
  std::string script =
      plot_head("Training loss", height) + data + "set multiplot\n" + set_legend(legend, height) +
      set_margins(margins, height) + "set ylabel 'loss (nats per token)' textcolor rgb '#444444'\n" +
      set_axis('y', losses, labels_of(losses, format_short)) +
      set_axis('x', steps,
               any_rate ? std::vector<std::string>(steps.ticks.size()) : labels_of(steps, format_step)) +
      (any_rate ? "" : "set xlabel 'step' textcolor rgb '#444444'\n") + plot_command(curves);
  if (any_rate) {
    margins.top = height - 64 - kRatePanelHeight;
    margins.bottom = 64;
    script += set_margins(margins, height) + rate_panel(curves, steps);
  }
  return gnuplot.draw(script + "unset multiplot\n");
}

}  // namespace longlora::report
