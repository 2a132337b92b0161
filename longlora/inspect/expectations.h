// What --expect asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/results/inspection.h"

namespace longlora::inspect {

/// "longalpaca".
const std::vector<std::string>& expectation_names();

/// What decides whether data have an expected form.
struct FormCounts {
  int64_t num_samples = 0;
  int64_t num_broken = 0;
  int64_t num_long = 0;                          // samples of at least kLongWords words
  std::vector<results::NamedCount> fields = {};  // see results::InspectedFile
  std::vector<results::NamedCount> unread = {};
};

/// A sample of so many words counts as long. The questions of LongAlpaca about books and papers have several
/// thousand words, and those that it takes from Alpaca some dozens.
inline constexpr int64_t kLongWords = 1000;

/// Checks the released LongAlpaca-12k: 12,000 whole samples with nothing to read but instruction and output;
/// 9 thousand of them are long, and 3 thousand short.
std::vector<results::Expectation> check_longalpaca(const FormCounts& counts);

}  // namespace longlora::inspect
