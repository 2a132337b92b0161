// What is said of many lengths: quantiles and a histogram.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/results/inspection.h"

namespace longlora::inspect {

/// The quantiles, the mean and the sum of lengths, none of which is negative. Requires at least one.
results::LengthSummary summarize_lengths(const std::string& part, std::vector<int64_t> lengths);

/// Counts the lengths of samples, and of their answers where there are any, in bins whose ends grow by one
/// factor, 2 or a root of it, so that there are at most 16 of them where that is possible. Lengths of 0 have
/// a bin of their own. Every length is in one bin.
std::vector<results::LengthBin> count_lengths(const std::vector<int64_t>& samples,
                                              const std::vector<int64_t>& answers);

}  // namespace longlora::inspect
