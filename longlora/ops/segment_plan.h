// Which tokens each half of the attention heads may see, as lists of segments.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace longlora::ops {

/// The segments of a batch of N = rows × row_tokens tokens laid end to end.
/// Heads [0, H/2) attend causally inside the segments of bounds[0], heads
/// [H/2, H) inside those of bounds[1]. Segment i is [bounds[h][i], bounds[h][i+1]);
/// bounds start with 0, end with N and strictly increase. No segment crosses a
/// row or a document. Built once per batch; immutable afterwards.
///
/// Full attention has one segment per document in both halves. Shifted sparse
/// attention (arXiv 2309.12307, section 3.2, variant 2 of table 8) cuts the first
/// half at multiples of G and the second at G/2, 3G/2, …; no segment wraps
/// around, so no token ever sees a later one.
///
/// A sliding window narrows every segment further: of its segment a token sees
/// itself and the window_tokens - 1 tokens before it.
struct SegmentPlan {
  int64_t num_tokens = 0;
  std::array<std::vector<int64_t>, 2> bounds;
  int64_t window_tokens = 0;  // 0: no window

  int64_t num_segments(int half) const { return static_cast<int64_t>(bounds[half].size()) - 1; }
};

/// What a plan is made from.
struct SegmentPlanOptions {
  int64_t num_rows = 1;
  int64_t row_tokens = 0;
  /// Tokens of a group; 0 means full attention.
  int64_t group_tokens = 0;
  /// Where set, the group of each document from its length, in place of group_tokens.
  std::function<int64_t(int64_t document_tokens)> group_for = nullptr;
  /// Positions in [0, N) at which a document starts, ascending; row starts need
  /// not be listed. Groups are counted from the start of each document.
  std::vector<int64_t> document_starts = {};
  /// Tokens of a sliding window; 0 means none.
  int64_t window_tokens = 0;
};

/// Throws Error when sizes are not positive or starts are not ascending inside [0, N).
SegmentPlan make_segment_plan(const SegmentPlanOptions& options);

/// The plan with the narrower of its own window and `window_tokens` (0: none).
SegmentPlan with_window(const SegmentPlan& plan, int64_t window_tokens);

/// G = ceil(row_tokens × ratio): the released code's group size for any length.
int64_t group_tokens_for_ratio(int64_t row_tokens, double ratio);

}  // namespace longlora::ops
