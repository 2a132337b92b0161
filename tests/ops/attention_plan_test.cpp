#include "longlora/ops/attention_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "longlora/core/error.h"

namespace longlora::ops {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Every option set of some sizes: rows, lengths, groups (0: full; longer than the row too), documents.
template <typename Check>
void for_many_plans(const Check& check) {
  for (const int64_t rows : {1, 2, 3})
    for (const int64_t tokens : {1, 2, 3, 7, 8, 16, 21})
      for (const int64_t group : {0, 1, 2, 3, 4, 7, 8, 21, 40})
        for (const bool packed : {false, true}) {
          SegmentPlanOptions options = {.num_rows = rows, .row_tokens = tokens, .group_tokens = group};
          if (packed)
            for (int64_t start = 0; start < rows * tokens; start += 5)
              options.document_starts.push_back(start);
          SCOPED_TRACE(::testing::Message()
                       << rows << " rows of " << tokens << ", group " << group << (packed ? ", packed" : ""));
          check(options, make_segment_plan(options));
        }
}

TEST(AttentionPlan, CoversAllTokensInAscendingOrder) {
  for_many_plans([](const SegmentPlanOptions& options, const AttentionPlan& plan) {
    EXPECT_EQ(plan.num_tokens, options.num_rows * options.row_tokens);
    for (const auto& bounds : plan.bounds) {
      ASSERT_GE(bounds.size(), 2u);
      EXPECT_EQ(bounds.front(), 0);
      EXPECT_EQ(bounds.back(), plan.num_tokens);
      for (size_t i = 1; i < bounds.size(); ++i) EXPECT_LT(bounds[i - 1], bounds[i]);
    }
  });
}

TEST(AttentionPlan, NeverCrossesARowOrADocument) {
  for_many_plans([](const SegmentPlanOptions& options, const AttentionPlan& plan) {
    for (const auto& bounds : plan.bounds) {
      for (int64_t row = 0; row <= options.num_rows; ++row)
        EXPECT_TRUE(std::binary_search(bounds.begin(), bounds.end(), row * options.row_tokens)) << row;
      for (const int64_t start : options.document_starts)
        EXPECT_TRUE(std::binary_search(bounds.begin(), bounds.end(), start)) << start;
    }
  });
}

TEST(AttentionPlan, HasNoSegmentLongerThanTheGroup) {
  for_many_plans([](const SegmentPlanOptions& options, const AttentionPlan& plan) {
    if (options.group_tokens == 0) return;
    for (const auto& bounds : plan.bounds)
      for (size_t i = 1; i < bounds.size(); ++i) EXPECT_LE(bounds[i] - bounds[i - 1], options.group_tokens);
  });
}

TEST(AttentionPlan, ShiftsTheSecondHalfByHalfAGroup) {
  const AttentionPlan plan = make_segment_plan({.num_rows = 1, .row_tokens = 21, .group_tokens = 8});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 8, 16, 21));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 4, 12, 20, 21));
}

TEST(AttentionPlan, RoundsHalfOfAnOddGroupDown) {
  const AttentionPlan plan = make_segment_plan({.num_rows = 1, .row_tokens = 10, .group_tokens = 7});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 7, 10));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 3, 10));
}

TEST(AttentionPlan, KeepsTheShiftWhereTheRowIsShorterThanTheGroup) {
  const AttentionPlan plan = make_segment_plan({.num_rows = 2, .row_tokens = 5, .group_tokens = 8});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 5, 10));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 4, 5, 9, 10));
}

TEST(AttentionPlan, CountsGroupsFromTheStartOfEachDocument) {
  const AttentionPlan plan =
      make_segment_plan({.num_rows = 1, .row_tokens = 12, .group_tokens = 4, .document_starts = {0, 5}});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 4, 5, 9, 12));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 2, 5, 7, 11, 12));
}

TEST(AttentionPlan, HasOneSegmentPerDocumentUnderFullAttention) {
  const AttentionPlan plan =
      make_segment_plan({.num_rows = 2, .row_tokens = 6, .document_starts = {2, 6, 9}});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 2, 6, 9, 12));
  EXPECT_EQ(plan.bounds[0], plan.bounds[1]);
}

TEST(AttentionPlan, TakesTheLargestGroupThereIs) {
  const int64_t largest = std::numeric_limits<int64_t>::max();
  const AttentionPlan plan = make_segment_plan({.num_rows = 3, .row_tokens = 4, .group_tokens = largest});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 4, 8, 12));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 4, 8, 12));
}

TEST(AttentionPlan, TakesTheNarrowerOfTwoWindows) {
  const AttentionPlan plan = make_segment_plan({.num_rows = 1, .row_tokens = 8});
  EXPECT_EQ(plan.window_tokens, 0);
  EXPECT_EQ(with_window(plan, 0).window_tokens, 0);
  const AttentionPlan narrow = with_window(plan, 5);
  EXPECT_EQ(narrow.window_tokens, 5);
  EXPECT_EQ(narrow.bounds, plan.bounds);
  EXPECT_EQ(with_window(narrow, 0).window_tokens, 5);
  EXPECT_EQ(with_window(narrow, 7).window_tokens, 5);
  EXPECT_EQ(with_window(narrow, 3).window_tokens, 3);
}

TEST(AttentionPlan, HasOneQueryForEachTokenUnlessToldOtherwise) {
  const AttentionPlan plan = make_segment_plan({.num_rows = 2, .row_tokens = 7, .group_tokens = 4});
  EXPECT_TRUE(plan.has_all_queries());
  EXPECT_EQ(plan.num_queries(), 14);
  const auto [begin, end, first_query, last_query] = plan.segment(1, 1);
  EXPECT_THAT((std::vector<int64_t>{begin, end, first_query, last_query}), ElementsAre(2, 6, 2, 6));
}

TEST(AttentionPlan, LeavesTheQueriesOfTheLastTokens) {
  const AttentionPlan plan = make_segment_plan({.num_rows = 3, .row_tokens = 9, .window_tokens = 4});
  const AttentionPlan tail = last_tokens(plan, 2);
  EXPECT_FALSE(tail.has_all_queries());
  EXPECT_EQ(tail.num_queries(), 6);
  EXPECT_EQ(tail.num_tokens, 27);
  EXPECT_EQ(tail.window_tokens, 4);
  const auto [begin, end, first_query, last_query] = tail.segment(0, 1);
  EXPECT_THAT((std::vector<int64_t>{begin, end, first_query, last_query}), ElementsAre(9, 18, 2, 4));
  EXPECT_TRUE(last_tokens(plan, 9).has_all_queries());
  EXPECT_THROW(last_tokens(plan, 10), Error);
  EXPECT_THROW(last_tokens(plan, 0), Error);
  EXPECT_THROW(last_tokens(tail, 3), Error);
  EXPECT_THROW(last_tokens(make_segment_plan({.row_tokens = 8, .group_tokens = 4}), 2), Error);
}

// The ranges as "0-4:0-2 half 0" each.
std::vector<std::string> ranges_of(const AttentionPlan& plan, int64_t heads, int64_t kv_heads) {
  std::vector<std::string> all;
  for (const HeadRange& range : head_ranges(plan, heads, kv_heads))
    all.push_back((::testing::Message() << range.begin << "-" << range.end << ":" << range.kv_begin << "-"
                                        << range.kv_end << " half " << range.half)
                      .GetString());
  return all;
}

TEST(HeadRanges, AreOneWhereBothHalvesSeeTheSame) {
  EXPECT_THAT(ranges_of(make_segment_plan({.row_tokens = 9}), 6, 3), ElementsAre("0-6:0-3 half 0"));
}

TEST(HeadRanges, EndWhereTheHalfOrTheSharedKeysDo) {
  const AttentionPlan plan = make_segment_plan({.row_tokens = 9, .group_tokens = 4});
  EXPECT_THAT(ranges_of(plan, 8, 4), ElementsAre("0-4:0-2 half 0", "4-8:2-4 half 1"));
  EXPECT_THAT(ranges_of(plan, 6, 3),
              ElementsAre("0-2:0-1 half 0", "2-3:1-2 half 0", "3-4:1-2 half 1", "4-6:2-3 half 1"));
  EXPECT_THAT(ranges_of(plan, 4, 1), ElementsAre("0-2:0-1 half 0", "2-4:0-1 half 1"));
  EXPECT_THAT(ranges_of(plan, 1, 1), ElementsAre("0-1:0-1 half 1"));
}

std::string refusal(const SegmentPlanOptions& options) {
  try {
    make_segment_plan(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(AttentionPlan, RefusesSizesAndStartsThatMakeNoSense) {
  EXPECT_THAT(refusal({.num_rows = 0, .row_tokens = 4}), HasSubstr("expected positive sizes"));
  EXPECT_THAT(refusal({.num_rows = 1, .row_tokens = 0}), HasSubstr("expected positive sizes"));
  EXPECT_THAT(refusal({.num_rows = 1, .row_tokens = 4, .group_tokens = -1}), HasSubstr("group -1"));
  EXPECT_THAT(refusal({.num_rows = 1, .row_tokens = 4, .window_tokens = -1}), HasSubstr("window -1"));
  EXPECT_THAT(refusal({.num_rows = 1, .row_tokens = 9, .document_starts = {5, 3}}), HasSubstr("ascending"));
  EXPECT_THAT(refusal({.num_rows = 1, .row_tokens = 9, .document_starts = {-1}}), HasSubstr("ascending"));
  EXPECT_THAT(refusal({.num_rows = 1, .row_tokens = 9, .document_starts = {9}}), HasSubstr("below 9, got 9"));
}

TEST(GroupTokens, AreTheShareOfTheRowRoundedUp) {
  EXPECT_EQ(group_tokens_for_ratio(4096, 0.25), 1024);
  EXPECT_EQ(group_tokens_for_ratio(4097, 0.25), 1025);
  EXPECT_EQ(group_tokens_for_ratio(3, 0.25), 1);
  EXPECT_EQ(group_tokens_for_ratio(7, 1.0), 7);
  EXPECT_THROW(group_tokens_for_ratio(8, 0.0), Error);
  EXPECT_THROW(group_tokens_for_ratio(8, 1.5), Error);
  EXPECT_THROW(group_tokens_for_ratio(0, 0.5), Error);
}

}  // namespace
}  // namespace longlora::ops
