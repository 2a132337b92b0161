#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/plot_style.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr double kRowHeight = 30;
constexpr double kPanelTop = 54;     // room for the panel's name and the heads of columns
constexpr double kPanelBottom = 56;  // room for the ticks of depth and the axis's name
constexpr double kHeadHeight = 44;

struct Rgb {
  double red = 0;
  double green = 0;
  double blue = 0;
};

// Vermillion, straw and bluish green. They go from red to green for those who see these so, and are three
// different colours with any colour vision.
constexpr Rgb kMissed = {0xD5, 0x5E, 0x3B};
constexpr Rgb kHalf = {0xF6, 0xE7, 0xB4};
constexpr Rgb kFound = {0x1B, 0x9E, 0x77};

Rgb mix(const Rgb& a, const Rgb& b, double share) {
  return {a.red + (b.red - a.red) * share, a.green + (b.green - a.green) * share,
          a.blue + (b.blue - a.blue) * share};
}

Rgb share_color(double share) {
  return share < 0.5 ? mix(kMissed, kHalf, share * 2) : mix(kHalf, kFound, share * 2 - 1);
}

int as_number(const Rgb& color) {
  const auto channel = [](double value) { return static_cast<int>(std::lround(value)); };
  return (channel(color.red) << 16) | (channel(color.green) << 8) | channel(color.blue);
}

// The colour of text on a cell: white on dark cells, near-black on light ones.
int text_color(const Rgb& cell) {
  const double brightness = (0.299 * cell.red + 0.587 * cell.green + 0.114 * cell.blue) / 255;
  return brightness < 0.58 ? 0xFFFFFF : 0x222222;
}

struct Grid {
  size_t num_columns = 1;
  double panel_width = 0;
  double panel_height = 0;
  int height = 0;
};

Grid make_grid(const std::vector<PasskeyPanel>& panels) {
  size_t num_rows = 1;
  for (const PasskeyPanel& panel : panels) num_rows = std::max(num_rows, panel.rows.size());
  Grid grid;
  grid.num_columns = panels.size() <= 1 ? 1 : panels.size() == 3 || panels.size() > 4 ? 3 : 2;
  const size_t num_lines = (panels.size() + grid.num_columns - 1) / grid.num_columns;
  grid.panel_width = static_cast<double>(kPlotWidth) / static_cast<double>(grid.num_columns);
  grid.panel_height = kPanelTop + kRowHeight * static_cast<double>(num_rows) + kPanelBottom;
  grid.height = static_cast<int>(kHeadHeight + grid.panel_height * static_cast<double>(num_lines));
  return grid;
}

// The data of a panel: cells as boxes, and their values as labels. x is the bin of depth, and y the row from
// the top.
std::string panel_data(const PasskeyPanel& panel, size_t index) {
  std::string boxes = fmt::format("$boxes{} << EOD\n", index);
  std::string labels = fmt::format("$labels{} << EOD\n", index);
  for (size_t row = 0; row < panel.rows.size(); ++row) {
    for (size_t bin = 0; bin < kNumDepthBins; ++bin) {
      const std::optional<double> share = panel.rows[row].by_depth[bin];
      const Rgb color = share ? share_color(*share) : Rgb{0xEE, 0xEE, 0xEE};
      boxes += fmt::format("{} {} {}\n", bin, row, as_number(color));
      labels += fmt::format("{} {} {} \"{}\"\n", bin, row, share ? text_color(color) : 0x888888,
                            share ? fmt::format("{:.0f}", *share * 100) : "–");
    }
  }
  return boxes + "EOD\n" + labels + "EOD\n";
}

std::string panel_ticks(const PasskeyPanel& panel) {
  std::string ticks;
  for (size_t row = 0; row < panel.rows.size(); ++row)
    ticks += fmt::format("{}{} {}", row == 0 ? "" : ", ", quote_tick(panel.rows[row].length), row);
  std::string depths;
  for (size_t edge = 0; edge <= kNumDepthBins; ++edge) {
    depths += fmt::format("{}'{}' {}", edge == 0 ? "" : ", ", edge * 100 / kNumDepthBins,
                          static_cast<double>(edge) - 0.5);
  }
  std::string accuracies;
  for (size_t row = 0; row < panel.rows.size(); ++row) {
    accuracies += fmt::format("{}{} {}", row == 0 ? "" : ", ",
                              quote_tick(format_percent(panel.rows[row].accuracy)), row);
  }
  return fmt::format("set ytics ({})\nset xtics ({})\nset y2tics ({})\n", ticks, depths, accuracies);
}

std::string panel_script(const PasskeyPanel& panel, size_t index, const Grid& grid) {
  const double left = grid.panel_width * static_cast<double>(index % grid.num_columns);
  const size_t line = index / grid.num_columns;
  const double top = kHeadHeight + grid.panel_height * static_cast<double>(line);
  Margins margins;
  margins.left = left + (index % grid.num_columns == 0 ? 76 : 64);
  margins.right = kPlotWidth - (left + grid.panel_width) + 66;
  margins.top = top + kPanelTop;
  const double rows_height = kRowHeight * static_cast<double>(panel.rows.size());
  margins.bottom = grid.height - margins.top - rows_height;
  const int name_width = static_cast<int>((grid.panel_width - 90) / 8.4);
  return panel_ticks(panel) + set_margins(margins, grid.height) +
         fmt::format(
             "set xrange [-0.5:{}]\nset yrange [{}:-0.5]\nset y2range [{}:-0.5]\n"
             "set label 2 {} at screen {:.5f},{:.5f} left font 'DejaVu Sans:Bold,11' textcolor rgb "
             "'#222222'\n"
             "set label 3 'tokens' at graph 0, graph 1 right offset -0.9,0.8 textcolor rgb '#777777' font "
             "',9'\n"
             "set label 4 'all' at graph 1, graph 1 left offset 0.9,0.8 textcolor rgb '#777777' font ',9'\n"
             "set xlabel 'depth of the key in the text (%)' offset 0,0.3 textcolor rgb '#777777' font ',9'\n"
             "plot $boxes{} using 1:2:(0.48):(0.47):3 with boxxyerror fillstyle solid 1.0 noborder linecolor "
             "rgb "
             "variable notitle, $labels{} using 1:2:4:3 with labels textcolor rgb variable notitle\n",
             kNumDepthBins - 0.5, static_cast<double>(panel.rows.size()) - 0.5,
             static_cast<double>(panel.rows.size()) - 0.5, quote_gnuplot(shorten(panel.name, name_width)),
             (left + 18) / kPlotWidth, 1.0 - (top + 16) / grid.height, index, index);
}

}  // namespace

std::string plot_passkey(const Gnuplot& gnuplot, const std::vector<PasskeyPanel>& panels) {
  const Grid grid = make_grid(panels);
  std::string script = plot_head("Pass keys found (%) by length and depth", grid.height) +
                       "unset border\nunset grid\nset tics scale 0\nset xtics font ',9'\n";
  std::string body = "set multiplot\nunset key\n";
  for (size_t i = 0; i < panels.size(); ++i) {
    script += panel_data(panels[i], i);
    body += panel_script(panels[i], i, grid) + "unset label 1\n";
  }
  return gnuplot.draw(script + body + "unset multiplot\n");
}

}  // namespace longlora::report
