// The common look of all pictures: size, fonts, colours, frame and legend.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace longlora::report {

/// The width of every picture in nominal units, in which heights are given, too.
constexpr int kPlotWidth = 960;

/// The colour of the model at this place in the report. There are eight hues that people with any colour
/// vision tell apart (Okabe and Ito, "Color Universal Design"); then they come again.
std::string model_color(size_t model);

/// The same hue, dark enough for text on white.
std::string model_text_color(size_t model);

/// The gnuplot point type of a model, a filled or open shape. It differs where colours repeat.
int model_marker(size_t model);

/// The gnuplot dash type of a model, which is solid for the first eight models.
int model_dash(size_t model);

/// A legend between title and plot, in as many columns as `plot_width` allows.
struct Legend {
  double height = 0;  // in nominal units
  int num_columns = 1;
};
Legend make_legend(const std::vector<std::string>& names, double plot_width);

/// The command `set key` for a picture of that height.
std::string set_legend(const Legend& legend, int height);

/// A name, shortened to what a legend or the title of a panel can hold.
std::string legend_name(const std::string& name);

/// The commands for terminal, fonts, frame, grid, and the title in bold at the top left.
std::string plot_head(const std::string& title, int height);

/// Margins in nominal units, as commands `set lmargin at screen …` and so on.
struct Margins {
  double left = 78;
  double right = 30;
  double top = 60;
  double bottom = 64;
};
std::string set_margins(const Margins& margins, int height);

/// The ends of an axis and the places of its ticks.
struct Axis {
  double low = 0;
  double high = 1;
  bool is_logarithmic = false;
  std::vector<double> ticks;
};

/// An axis around the values with round ticks. It is logarithmic when the values are positive and span more
/// than `log_ratio`. Requires finite values.
Axis make_axis(const std::vector<double>& values, double log_ratio);

/// The label of a tick in quotes for `set xtics (…)`, where % has a meaning.
std::string quote_tick(const std::string& label);

/// The commands `set xrange`, `set xtics` … for axis 'x' or 'y'. There is one label for each tick.
std::string set_axis(char name, const Axis& axis, const std::vector<std::string>& labels);

}  // namespace longlora::report
