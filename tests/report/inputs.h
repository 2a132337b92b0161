// Inputs of a report that are made in memory.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "longlora/report/inputs.h"
#include "tests/results/samples.h"

namespace longlora::report {

/// Of windows of the kind "all", on unknown data.
inline ResultFile<results::Perplexity> perplexity_file(const std::string& label,
                                                       std::vector<results::PerplexityPoint> points,
                                                       const std::string& path) {
  results::Perplexity result;
  result.window = "all";
  result.points = std::move(points);
  return {label, std::move(result), path, Json()};
}

}  // namespace longlora::report
