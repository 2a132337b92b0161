// The common look of all pictures: size, fonts, colours, frame and legend.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace longlora::report {

/// Nominal width of every picture; heights are in the same unit.
constexpr int kPlotWidth = 960;

/// Colour of the model at this place in the report: eight hues that people with
/// any colour vision tell apart (Okabe and Ito, "Color Universal Design"), then again.
std::string model_color(size_t model);

/// The same hue, dark enough for text on white.
std::string model_text_color(size_t model);

/// gnuplot point type (a filled or open shape); differs where colours repeat.
int model_marker(size_t model);

/// gnuplot dash type: solid for the first eight models.
int model_dash(size_t model);

/// A legend between title and plot, in as many columns as `plot_width` allows.
struct Legend {
  double height = 0;  // nominal units
  int num_columns = 1;
};
Legend make_legend(const std::vector<std::string>& names, double plot_width);

/// `set key` for a picture of that height.
std::string set_legend(const Legend& legend, int height);

/// Names as long as a legend or panel title can hold.
std::string legend_name(const std::string& name);

/// `set terminal`, fonts, frame, grid; the title bold at the top left.
std::string plot_head(const std::string& title, int height);

/// Margins in the nominal unit, `set lmargin at screen …` and so on.
struct Margins {
  double left = 78;
  double right = 30;
  double top = 60;
  double bottom = 64;
};
std::string set_margins(const Margins& margins, int height);

/// Ends of an axis and where its ticks go.
struct Axis {
  double low = 0;
  double high = 1;
  bool is_logarithmic = false;
  std::vector<double> ticks;
};

/// An axis around the values with round ticks, logarithmic when they are
/// positive and span more than `log_ratio`. Requires finite values.
Axis make_axis(const std::vector<double>& values, double log_ratio);

/// A tick's label, quoted for `set xtics (…)`, where % has a meaning.
std::string quote_tick(const std::string& label);

/// `set xrange`, `set xtics` … for axis 'x' or 'y'. Labels are one for each tick.
std::string set_axis(char name, const Axis& axis, const std::vector<std::string>& labels);

}  // namespace longlora::report
