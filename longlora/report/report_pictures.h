// Which pictures a report has, and what is drawn in each.
#pragma once

#include <string>
#include <vector>

#include "longlora/report/gnuplot.h"
#include "longlora/report/inputs.h"
#include "longlora/report/report.h"

namespace longlora::report {

struct Picture {
  Topic topic = Topic::kTraining;
  std::string name;  // of the file, without the report's stem: "loss"
  std::string png;   // the bytes of the file
  std::string caption;
  std::string alternative;  // what it shows, in words
};

/// Draws all pictures that the inputs allow, in the order of the report.
std::vector<Picture> draw_pictures(const Gnuplot& gnuplot, const Inputs& inputs);

}  // namespace longlora::report
