// Which keys each query of attention sees: the one description that every attention of the program goes by.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace longlora::ops {

/// Who sees whom among N tokens, each with a key and a value, that are laid end to end: rows of a batch, or
/// one sequence as a cache holds it. Heads [0, H/2) attend causally inside the segments of bounds[0], heads
/// [H/2, H) inside those of bounds[1]. Segment i is [bounds[h][i], bounds[h][i+1]); bounds start with 0, end
/// with N and strictly increase. No segment crosses a row or a document. Built once per batch; immutable
/// afterwards.
///
/// Full attention has one segment per document in both halves. Shifted sparse
/// attention (arXiv 2309.12307, section 3.2, variant 2 of table 8) cuts the first
/// half at multiples of G and the second at G/2, 3G/2, …; no segment wraps
/// around, so no token ever sees a later one.
///
/// Where results of the last tokens alone are wanted, or the tokens before them lie in a cache, only the last
/// tokens of each segment have a query (last_tokens()).
///
/// A sliding window narrows every segment further: of its segment a token sees
/// itself and the window_tokens - 1 tokens before it.
struct AttentionPlan {
  int64_t num_tokens = 0;
  std::array<std::vector<int64_t>, 2> bounds;
  /// The rows of q that each segment's queries have, written as bounds are. Empty where every token has a
  /// query.
  std::array<std::vector<int64_t>, 2> tail_bounds;
  int64_t window_tokens = 0;  // 0: no window

  bool has_all_queries() const { return tail_bounds[0].empty(); }
  const std::vector<int64_t>& query_bounds(int half) const {
    return has_all_queries() ? bounds[half] : tail_bounds[half];
  }
  int64_t num_queries() const { return has_all_queries() ? num_tokens : tail_bounds[0].back(); }
  int64_t num_segments(int half) const { return static_cast<int64_t>(bounds[half].size()) - 1; }

  /// Keys are rows [begin, end) of k and v, queries rows [first_query, last_query) of q; the last query is
  /// that of token end - 1.
  struct Segment {
    int64_t begin, end;
    int64_t first_query, last_query;
  };
  Segment segment(int half, int64_t i) const {
    const auto& queries = query_bounds(half);
    return {bounds[half][i], bounds[half][i + 1], queries[i], queries[i + 1]};
  }
};

/// What the plan of whole rows is made from.
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
AttentionPlan make_segment_plan(const SegmentPlanOptions& options);

/// The plan with the narrower of its own window and `window_tokens` (0: none).
AttentionPlan with_window(const AttentionPlan& plan, int64_t window_tokens);

/// The plan for the queries of the last `tokens` tokens of each segment alone, the plan itself where those
/// are all. Throws Error where a segment has fewer, where the halves then have unequal numbers of queries,
/// and where `tokens` is not positive.
AttentionPlan last_tokens(const AttentionPlan& plan, int64_t tokens);

/// Query heads [begin, end) of one half, which read the key/value heads [kv_begin, kv_end), as many each.
struct HeadRange {
  int64_t begin, end;
  int64_t kv_begin, kv_end;
  int half;
};

/// All heads, in order, in as few ranges as there are where all heads of a range see the same: what a kernel
/// that knows no halves takes in one call.
std::vector<HeadRange> head_ranges(const AttentionPlan& plan, int64_t heads, int64_t kv_heads);

/// G = ceil(row_tokens × ratio): the released code's group size for any length.
int64_t group_tokens_for_ratio(int64_t row_tokens, double ratio);

}  // namespace longlora::ops
