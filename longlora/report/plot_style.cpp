#include "longlora/report/plot_style.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr int kPixelsPerUnit = 2;
constexpr int kFontSize = 11;
constexpr int kMaxNameWidth = 44;     // in columns of text
constexpr double kLetterWidth = 8.2;  // of the legend's font, in nominal units
constexpr double kLegendRow = 22;
constexpr double kLegendSample = 52;  // room for the sample of a line and the gaps beside it

constexpr std::array<const char*, 8> kColors = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                "#E69F00", "#56B4E9", "#333333", "#8C6D31"};
constexpr std::array<int, 8> kMarkers = {7, 5, 9, 11, 13, 6, 4, 8};

// The smallest of the numbers 1, 2, 2.5 and 5 × 10^n that is at least `value`.
double round_step(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0})
    if (factor * power >= value * (1 - 1e-9)) return factor * power;
  return 10.0 * power;
}

std::vector<double> linear_ticks(double low, double high) {
  constexpr int kWanted = 6;
  const double step = round_step((high - low) / kWanted);
  std::vector<double> ticks;
  for (double tick = std::ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step)
    ticks.push_back(std::abs(tick) < step * 1e-9 ? 0.0 : tick);
  return ticks;
}

std::vector<double> logarithmic_ticks(double low, double high) {
  static const std::vector<std::vector<double>> kFactors = {
      {1, 1.5, 2, 3, 4, 5, 6, 8}, {1, 2, 3, 5}, {1, 3}, {1}};
  std::vector<double> ticks;
  for (const auto& factors : kFactors) {
    ticks.clear();
    for (double power = std::pow(10.0, std::floor(std::log10(low))); power <= high; power *= 10) {
      for (const double factor : factors) {
        if (factor * power >= low * (1 - 1e-9) && factor * power <= high * (1 + 1e-9))
          ticks.push_back(factor * power);
      }
    }
    if (ticks.size() <= 9) break;
  }
  return ticks;
}

}  // namespace

std::string model_color(size_t model) {
  return kColors[model % kColors.size()];
}

std::string model_text_color(size_t model) {
  const auto rgb = static_cast<unsigned>(std::stoul(model_color(model).substr(1), nullptr, 16));
  const auto darker = [&](int shift) { return ((rgb >> shift) & 0xFFu) * 4 / 5; };
  return fmt::format("#{:02X}{:02X}{:02X}", darker(16), darker(8), darker(0));
}

int model_marker(size_t model) {
  return kMarkers[(model + model / kColors.size()) % kMarkers.size()];
}

int model_dash(size_t model) {
  return 1 + static_cast<int>(model / kColors.size()) % 4;
}

std::string legend_name(const std::string& name) {
  return shorten(name, kMaxNameWidth);
}

Legend make_legend(const std::vector<std::string>& names, double plot_width) {
  if (names.empty()) return {};
  int widest = 0;
  for (const std::string& name : names) widest = std::max(widest, display_width(legend_name(name)));
  const double column_width = widest * kLetterWidth + kLegendSample;
  const int num_columns = std::clamp(static_cast<int>(plot_width / column_width), 1, 4);
  const int num_rows = (static_cast<int>(names.size()) + num_columns - 1) / num_columns;
  // Rows of equal length look better than a full one and a single name.
  const int even_columns = (static_cast<int>(names.size()) + num_rows - 1) / num_rows;
  return {kLegendRow * num_rows, even_columns};
}

std::string set_legend(const Legend& legend, int height) {
  if (legend.height <= 0) return "unset key\n";
  return fmt::format(
      "set key at screen {:.5f},{:.5f} left top Left reverse horizontal maxcols {} samplen 2.2 spacing "
      "1.2 textcolor rgb '#222222'\n",
      18.0 / kPlotWidth, 1.0 - 40.0 / height, legend.num_columns);
}

std::string plot_head(const std::string& title, int height) {
  return fmt::format(
      "set encoding utf8\n"
      "set terminal pngcairo noenhanced size {},{} font 'DejaVu Sans,{}' fontscale {} linewidth {} "
      "pointscale {} "
      "background rgb '#ffffff'\n"
      "set border 3 linecolor rgb '#999999' linewidth 1\n"
      "set tics nomirror scale 0.5 textcolor rgb '#444444'\n"
      "set grid ytics linecolor rgb '#e4e4e4' linewidth 1 linetype 1\n"
      "set label 1 {} at screen {:.5f},{:.5f} left font 'DejaVu Sans:Bold,13' textcolor rgb '#111111'\n",
      kPlotWidth * kPixelsPerUnit, height * kPixelsPerUnit, kFontSize, kPixelsPerUnit * 0.9, kPixelsPerUnit,
      kPixelsPerUnit, quote_gnuplot(title), 18.0 / kPlotWidth, 1.0 - 24.0 / height);
}

std::string set_margins(const Margins& margins, int height) {
  return fmt::format(
      "set lmargin at screen {:.5f}\nset rmargin at screen {:.5f}\n"
      "set tmargin at screen {:.5f}\nset bmargin at screen {:.5f}\n",
      margins.left / kPlotWidth, 1.0 - margins.right / kPlotWidth, 1.0 - margins.top / height,
      margins.bottom / height);
}

Axis make_axis(const std::vector<double>& values, double log_ratio) {
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  Axis axis;
  axis.low = *lowest;
  axis.high = *highest;
  axis.is_logarithmic = axis.low > 0 && axis.high > axis.low * log_ratio;
  if (axis.is_logarithmic) {
    const double margin = std::pow(axis.high / axis.low, 0.06);
    axis.low /= margin;
    axis.high *= margin;
    axis.ticks = logarithmic_ticks(axis.low, axis.high);
    return axis;
  }
  const double span = axis.high > axis.low ? axis.high - axis.low : std::max(std::abs(axis.high) * 0.1, 1e-9);
  axis.low -= span * 0.08;
  axis.high += span * 0.08;
  axis.ticks = linear_ticks(axis.low, axis.high);
  return axis;
}

std::string quote_tick(const std::string& label) {
  std::string doubled;
  for (const char character : label) doubled.append(character == '%' ? 2 : 1, character);
  return quote_gnuplot(doubled);
}

std::string set_axis(char name, const Axis& axis, const std::vector<std::string>& labels) {
  std::string out = fmt::format("{} logscale {}\nset {}range [{}:{}]\nset {}tics (",
                                axis.is_logarithmic ? "set" : "unset", name, name, axis.low, axis.high, name);
  for (size_t i = 0; i < axis.ticks.size(); ++i)
    out += fmt::format("{}{} {}", i == 0 ? "" : ", ", quote_tick(labels[i]), axis.ticks[i]);
  return out + ")\n";
}

}  // namespace longlora::report
