#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/plot_style.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr int kBaseHeight = 400;      // of a picture without its legend
constexpr double kGroupShare = 0.82;  // the part of a group's width that its bars take
constexpr double kLetterWidth = 7;    // of the values above the bars, in nominal units

double highest_value(const GroupedBars& bars) {
  double highest = 0;
  for (const BarSeries& series : bars.series) {
    for (const double value : series.values)
      highest = std::isfinite(value) ? std::max(highest, value) : highest;
  }
  return highest;
}

int widest_label(const GroupedBars& bars) {
  int widest = 0;
  for (const BarSeries& series : bars.series)
    for (const std::string& label : series.labels) widest = std::max(widest, display_width(label));
  return widest;
}

Axis value_axis(const GroupedBars& bars) {
  const double limit = bars.value_limit > 0 ? bars.value_limit : highest_value(bars);
  Axis axis = make_axis({0.0, limit > 0 ? limit : 1.0}, HUGE_VAL);
  axis.low = 0;
  std::erase_if(axis.ticks, [&](double tick) { return tick < 0 || tick > limit * (1 + 1e-9); });
  return axis;
}

std::string group_ticks(const GroupedBars& bars) {
  std::string ticks;
  for (size_t group = 0; group < bars.groups.size(); ++group)
    ticks += fmt::format("{}{} {}", group == 0 ? "" : ", ", quote_tick(bars.groups[group]), group);
  return fmt::format("set xtics ({})\nset xrange [-0.5:{}]\n", ticks,
                     static_cast<double>(bars.groups.size()) - 0.5);
}

// The data of one series, with the columns centre, half width, height and label.
std::string series_data(const GroupedBars& bars, size_t index) {
  const BarSeries& series = bars.series[index];
  const double width = kGroupShare / static_cast<double>(bars.series.size());
  std::string out = fmt::format("$bars{} << EOD\n", index);
  for (size_t group = 0; group < series.values.size(); ++group) {
    if (std::isfinite(series.values[group])) {
      const double center =
          static_cast<double>(group) - kGroupShare / 2 + width * (static_cast<double>(index) + 0.5);
      out +=
          fmt::format("{} {} {} \"{}\"\n", center, width * 0.45, series.values[group], series.labels[group]);
    }
  }
  return out + "EOD\n";
}

}  // namespace

std::string plot_bars(const Gnuplot& gnuplot, const GroupedBars& bars) {
  std::vector<std::string> names;
  for (const BarSeries& series : bars.series) names.push_back(series.name);
  const Axis axis = value_axis(bars);
  std::vector<std::string> labels;
  for (const double tick : axis.ticks) labels.push_back(format_short(tick));
  Margins margins;
  const Legend legend = make_legend(names, kPlotWidth - margins.left - margins.right);
  const int height = kBaseHeight + static_cast<int>(legend.height);
  margins.top = 60 + legend.height;
  const double plot_width = kPlotWidth - margins.left - margins.right;
  const double num_slots = static_cast<double>(bars.groups.size() * bars.series.size()) / kGroupShare;
  const bool has_labels = plot_width / num_slots >= kLetterWidth * (widest_label(bars) + 1);

  std::string script =
      plot_head(bars.title, height) + set_legend(legend, height) + set_margins(margins, height) +
      group_ticks(bars) + set_axis('y', axis, labels) + "set tics scale 0.001\n" +
      fmt::format("set xlabel {} textcolor rgb '#444444'\nset ylabel {} textcolor rgb '#444444'\n",
                  quote_gnuplot(bars.group_axis), quote_gnuplot(bars.value_axis));
  std::vector<std::string> parts;
  for (size_t i = 0; i < bars.series.size(); ++i) {
    const std::string color = model_color(bars.series[i].model);
    script += series_data(bars, i);
    parts.push_back(
        fmt::format("$bars{} using 1:($3/2):2:($3/2) with boxxyerror fillstyle solid 1.0 noborder linecolor "
                    "rgb '{}' title {}",
                    i, color, quote_gnuplot(legend_name(bars.series[i].name))));
    if (has_labels) {
      parts.push_back(fmt::format(
          "$bars{} using 1:3:4 with labels offset 0,0.6 font ',9' textcolor rgb '#333333' notitle", i));
    }
  }
  return gnuplot.draw(script + fmt::format("plot {}\n", fmt::join(parts, ", \\\n     ")));
}

}  // namespace longlora::report
