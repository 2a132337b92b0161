#include "longlora/generate/step_ranges.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"

namespace longlora::generate {

StepRanges::StepRanges(std::span<const StepRow> rows, int64_t window_tokens) : window_tokens_(window_tokens) {
  // Returns the first token that a query at `place` sees through the window.
  const auto first_in_window = [&](int64_t place) {
    return window_tokens > 0 ? std::max<int64_t>(0, place + 1 - window_tokens) : 0;
  };
  for (int64_t r = 0; r < static_cast<int64_t>(rows.size()); ++r) {
    const StepRow& row = rows[static_cast<size_t>(r)];
    first_.push_back(static_cast<int64_t>(ranges_.size()));
    const int64_t sinks = std::min(row.sinks, row.num_tokens - 1);
    if (sinks > 0) add(row, {r, first_in_window(row.sink_place), sinks, /*is_sink=*/true});
    const int64_t seen = std::max({sinks, row.first_recent, first_in_window(row.num_tokens - 1)});
    add(row, {r, seen, row.num_tokens, /*is_sink=*/false});
  }
  first_.push_back(static_cast<int64_t>(ranges_.size()));
}

void StepRanges::add(const StepRow& row, const StepRange& whole) {
  for (int64_t token = whole.first_token; token < whole.last_token;) {
    StepRange range = whole;
    range.first_token = token;
    range.last_token = std::min(whole.last_token, (token / kStepRangeTokens + 1) * kStepRangeTokens);
    ranges_.push_back(range);
    for (int64_t page = token / ops::kPageTokens; page * ops::kPageTokens < range.last_token; ++page)
      if (row.pages[static_cast<size_t>(page)].data == nullptr)
        throw Error(
            fmt::format("[step] expected page {} of row {} to be there, got one that was dropped; "
                        "the row sees tokens [{}, {})",
                        page, whole.row, whole.first_token, whole.last_token));
    token = range.last_token;
  }
}

}  // namespace longlora::generate
