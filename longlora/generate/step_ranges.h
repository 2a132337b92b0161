// How the attention of a decoding step is cut into ranges of tokens that threads attend to by themselves.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "longlora/generate/step_decoder.h"

namespace longlora::generate {

/// How many tokens a range has at most. Ranges are cut at multiples of it, so that they depend on nothing but
/// what a token sees.
constexpr int64_t kStepRangeTokens = 256;

/// Some neighbouring tokens that a row sees.
struct StepRange {
  int64_t row;
  int64_t first_token, last_token;  // [first_token, last_token)
  bool is_sink;                     // the query is rotated to sink_place
};

/// The ranges of all rows of a step under one width of a sliding window.
class StepRanges {
 public:
  /// Throws Error where a page that is seen is not there.
  StepRanges(std::span<const StepRow> rows, int64_t window_tokens);

  int64_t window_tokens() const { return window_tokens_; }
  const std::vector<StepRange>& all() const { return ranges_; }
  /// Returns the place in all() of a row's first range, and below, how many it has.
  int64_t first_of(int64_t row) const { return first_[static_cast<size_t>(row)]; }
  int64_t count_of(int64_t row) const { return first_of(row + 1) - first_of(row); }

 private:
  void add(const StepRow& row, const StepRange& whole);

  int64_t window_tokens_;
  std::vector<StepRange> ranges_;
  std::vector<int64_t> first_;  // for each row, and at the end the number of all
};

}  // namespace longlora::generate
