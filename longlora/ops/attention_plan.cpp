#include "longlora/ops/attention_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"

namespace longlora::ops {
namespace {

// Appends the ends of the segments of the document [start, end). The first segment has `first` tokens, the
// others `group`.
void append_segments(std::vector<int64_t>& bounds, int64_t start, int64_t end, int64_t first, int64_t group) {
  // A group that is longer than the document is replaced by one of its length, so that sums cannot overflow.
  const int64_t length = end - start;
  group = std::min(group, length);
  for (int64_t cut = start + std::min(first, length); cut < end; cut += group) bounds.push_back(cut);
  bounds.push_back(end);
}

// Appends the ranges of query heads [begin, end) of one half, cut where both halves share a key/value head.
void append_ranges(int64_t begin, int64_t end, int64_t group, int half, std::vector<HeadRange>& ranges) {
  for (int64_t head = begin; head < end;) {
    const int64_t kv = head / group;
    const bool whole = head % group == 0 && end - head >= group;
    const int64_t stop = whole ? head + (end - head) / group * group : std::min(end, (kv + 1) * group);
    ranges.push_back({head, stop, kv, whole ? stop / group : kv + 1, half});
    head = stop;
  }
}

}  // namespace

AttentionPlan make_segment_plan(const SegmentPlanOptions& options) {
  if (options.num_rows <= 0 || options.row_tokens <= 0 || options.group_tokens < 0 ||
      options.window_tokens < 0)
    throw Error(
        fmt::format("[segment plan] expected positive sizes, got {} rows of {} tokens, group {}, window {}",
                    options.num_rows, options.row_tokens, options.group_tokens, options.window_tokens));
  AttentionPlan plan;
  plan.num_tokens = options.num_rows * options.row_tokens;
  plan.window_tokens = options.window_tokens;

  std::vector<int64_t> starts;
  auto next_document = options.document_starts.begin();
  const auto documents_end = options.document_starts.end();
  for (int64_t row = 0; row < options.num_rows; ++row) {
    const int64_t row_start = row * options.row_tokens;
    const int64_t row_end = row_start + options.row_tokens;
    starts.push_back(row_start);
    for (; next_document != documents_end && *next_document < row_end; ++next_document) {
      if (*next_document < starts.back())
        throw Error(fmt::format("[segment plan] expected ascending document starts, got {} after {}",
                                *next_document, starts.back()));
      if (*next_document > starts.back()) starts.push_back(*next_document);
    }
  }
  if (next_document != documents_end)
    throw Error(fmt::format("[segment plan] expected document starts below {}, got {}", plan.num_tokens,
                            *next_document));

  plan.bounds = {std::vector<int64_t>{0}, std::vector<int64_t>{0}};
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t start = starts[i];
    const int64_t end = i + 1 < starts.size() ? starts[i + 1] : plan.num_tokens;
    const int64_t asked = options.group_for ? options.group_for(end - start) : options.group_tokens;
    const int64_t group = asked == 0 ? end - start : asked;
    // A shift is at least one token, because the first segment must not be empty.
    const int64_t shift = asked == 0 ? group : std::max<int64_t>(1, group / 2);
    append_segments(plan.bounds[0], start, end, group, group);
    append_segments(plan.bounds[1], start, end, shift, group);
  }
  return plan;
}

AttentionPlan with_window(const AttentionPlan& plan, int64_t window_tokens) {
  AttentionPlan narrowed = plan;
  if (plan.window_tokens == 0 || (window_tokens > 0 && window_tokens < plan.window_tokens))
    narrowed.window_tokens = window_tokens;
  return narrowed;
}

AttentionPlan last_tokens(const AttentionPlan& plan, int64_t tokens) {
  AttentionPlan tail = plan;
  bool has_all = true;
  for (int half = 0; half < 2; ++half) {
    tail.tail_bounds[half] = {0};
    for (int64_t i = 0; i < plan.num_segments(half); ++i) {
      const auto segment = plan.segment(half, i);
      const int64_t queries = segment.last_query - segment.first_query;
      if (tokens < 1 || tokens > queries)
        throw Error(fmt::format("[attention plan] expected 1 to {} of the last tokens of a segment, got {}",
                                queries, tokens));
      has_all = has_all && tokens == segment.end - segment.begin;
      tail.tail_bounds[half].push_back(tail.tail_bounds[half].back() + tokens);
    }
  }
  if (tail.tail_bounds[0].back() != tail.tail_bounds[1].back())
    throw Error(fmt::format("[attention plan] expected as many segments in both halves, got {} and {}",
                            plan.num_segments(0), plan.num_segments(1)));
  if (has_all) tail.tail_bounds = {};
  return tail;
}

std::vector<HeadRange> head_ranges(const AttentionPlan& plan, int64_t heads, int64_t kv_heads) {
  if (plan.bounds[0] == plan.bounds[1] && plan.tail_bounds[0] == plan.tail_bounds[1])
    return {{0, heads, 0, kv_heads, 0}};
  std::vector<HeadRange> ranges;
  append_ranges(0, heads / 2, heads / kv_heads, 0, ranges);
  append_ranges(heads / 2, heads, heads / kv_heads, 1, ranges);
  return ranges;
}

int64_t group_tokens_for_ratio(int64_t row_tokens, double ratio) {
  if (row_tokens <= 0 || !(ratio > 0.0) || ratio > 1.0)
    throw Error(fmt::format("[group size] expected a ratio in (0, 1] of a positive length, got {} of {}",
                            ratio, row_tokens));
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(static_cast<double>(row_tokens) * ratio)));
}

}  // namespace longlora::ops
