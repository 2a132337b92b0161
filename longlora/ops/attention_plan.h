// Says which keys each query of attention sees. Every attention of the program is described by such a plan.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace longlora::ops {

/// Who sees whom among N tokens with keys and values that are laid end to end. They are the rows of a batch,
/// or one sequence in a cache. Heads [0, H/2) attend causally inside the segments of bounds[0], heads [H/2,
/// H) inside those of bounds[1]. Segment i is [bounds[h][i], bounds[h][i+1]). Bounds start with 0, end with N
/// and strictly increase. No segment crosses a row or a document. A plan is made once for a batch and does
/// not change afterwards.
///
/// Full attention has one segment for each document in both halves of the heads. Shifted sparse attention
/// (arXiv 2309.12307, section 3.2, variant 2 of table 8) cuts the tokens at multiples of G for the first half
/// and at G/2, 3G/2, … for the second. No segment wraps around, so that no token sees a later one.
///
/// Only the last tokens of each segment have queries where only their results are wanted, or where the tokens
/// before them lie in a cache (last_tokens()).
///
/// With a sliding window, a token sees no more of its segment than itself and the window_tokens - 1 tokens
/// before it.
struct AttentionPlan {
  int64_t num_tokens = 0;
  std::array<std::vector<int64_t>, 2> bounds;
  /// The bounds of each segment's queries among the rows of q, in the form of `bounds`. Empty where every
  /// token has a query.
  std::array<std::vector<int64_t>, 2> tail_bounds;
  int64_t window_tokens = 0;  // 0: no window

  bool has_all_queries() const { return tail_bounds[0].empty(); }
  const std::vector<int64_t>& query_bounds(int half) const {
    return has_all_queries() ? bounds[half] : tail_bounds[half];
  }
  int64_t num_queries() const { return has_all_queries() ? num_tokens : tail_bounds[0].back(); }
  int64_t num_segments(int half) const { return static_cast<int64_t>(bounds[half].size()) - 1; }

  /// One segment. Its keys are rows [begin, end) of k and v, its queries rows [first_query, last_query) of q.
  /// The last query is that of token end - 1.
  struct Segment {
    int64_t begin, end;
    int64_t first_query, last_query;
  };
  Segment segment(int half, int64_t i) const {
    const auto& queries = query_bounds(half);
    return {bounds[half][i], bounds[half][i + 1], queries[i], queries[i + 1]};
  }
};

/// What a plan for whole rows is made of.
struct SegmentPlanOptions {
  int64_t num_rows = 1;
  int64_t row_tokens = 0;
  /// The tokens of a group of shifted sparse attention; 0: full attention.
  int64_t group_tokens = 0;
  /// Where set, it returns the group of each document by its length, and group_tokens does not count.
  std::function<int64_t(int64_t document_tokens)> group_for = nullptr;
  /// The places in [0, N) at which a document starts, ascending. Starts of rows need not be listed. Groups
  /// are counted from the start of each document.
  std::vector<int64_t> document_starts = {};
  /// The width of a sliding window in tokens; 0: none.
  int64_t window_tokens = 0;
};

/// Makes the plan for whole rows. Throws Error when sizes are not positive or starts are not ascending in [0,
/// N).
AttentionPlan make_segment_plan(const SegmentPlanOptions& options);

/// Returns the plan with the narrower of its own window and one of `window_tokens` (0: none).
AttentionPlan with_window(const AttentionPlan& plan, int64_t window_tokens);

/// Returns the plan in which only the last `tokens` tokens of each segment have queries, or the plan itself
/// where these are all. Throws Error where a segment has fewer tokens, where both halves of the heads would
/// have unequal numbers of queries, and where `tokens` is not positive.
AttentionPlan last_tokens(const AttentionPlan& plan, int64_t tokens);

/// Query heads [begin, end) of one half and the key/value heads [kv_begin, kv_end) that they read. Each of
/// the latter is read by as many of the former.
struct HeadRange {
  int64_t begin, end;
  int64_t kv_begin, kv_end;
  int half;
};

/// Divides all heads, in order, into the fewest ranges whose heads see the same keys. A kernel that does not
/// know halves can compute such a range in one call.
std::vector<HeadRange> head_ranges(const AttentionPlan& plan, int64_t heads, int64_t kv_heads);

/// Returns the group size of LongLoRA's released code: G = ceil(row_tokens × ratio).
int64_t group_tokens_for_ratio(int64_t row_tokens, double ratio);

}  // namespace longlora::ops
