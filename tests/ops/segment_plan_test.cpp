#include "longlora/ops/segment_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "longlora/core/error.h"

namespace longlora::ops {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Every option set of some sizes: rows, lengths, groups (0: full; longer than the row too), documents.
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

TEST(SegmentPlan, CoversAllTokensInAscendingOrder) {
  for_many_plans([](const SegmentPlanOptions& options, const SegmentPlan& plan) {
    EXPECT_EQ(plan.num_tokens, options.num_rows * options.row_tokens);
    for (const auto& bounds : plan.bounds) {
      ASSERT_GE(bounds.size(), 2u);
      EXPECT_EQ(bounds.front(), 0);
      EXPECT_EQ(bounds.back(), plan.num_tokens);
      for (size_t i = 1; i < bounds.size(); ++i) EXPECT_LT(bounds[i - 1], bounds[i]);
    }
  });
}

TEST(SegmentPlan, NeverCrossesARowOrADocument) {
  for_many_plans([](const SegmentPlanOptions& options, const SegmentPlan& plan) {
    for (const auto& bounds : plan.bounds) {
      for (int64_t row = 0; row <= options.num_rows; ++row)
        EXPECT_TRUE(std::binary_search(bounds.begin(), bounds.end(), row * options.row_tokens)) << row;
      for (const int64_t start : options.document_starts)
        EXPECT_TRUE(std::binary_search(bounds.begin(), bounds.end(), start)) << start;
    }
  });
}

TEST(SegmentPlan, HasNoSegmentLongerThanTheGroup) {
  for_many_plans([](const SegmentPlanOptions& options, const SegmentPlan& plan) {
    if (options.group_tokens == 0) return;
    for (const auto& bounds : plan.bounds)
      for (size_t i = 1; i < bounds.size(); ++i) EXPECT_LE(bounds[i] - bounds[i - 1], options.group_tokens);
  });
}

TEST(SegmentPlan, ShiftsTheSecondHalfByHalfAGroup) {
  const SegmentPlan plan = make_segment_plan({.num_rows = 1, .row_tokens = 21, .group_tokens = 8});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 8, 16, 21));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 4, 12, 20, 21));
}

TEST(SegmentPlan, RoundsHalfOfAnOddGroupDown) {
  const SegmentPlan plan = make_segment_plan({.num_rows = 1, .row_tokens = 10, .group_tokens = 7});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 7, 10));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 3, 10));
}

TEST(SegmentPlan, KeepsTheShiftWhereTheRowIsShorterThanTheGroup) {
  const SegmentPlan plan = make_segment_plan({.num_rows = 2, .row_tokens = 5, .group_tokens = 8});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 5, 10));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 4, 5, 9, 10));
}

TEST(SegmentPlan, CountsGroupsFromTheStartOfEachDocument) {
  const SegmentPlan plan =
      make_segment_plan({.num_rows = 1, .row_tokens = 12, .group_tokens = 4, .document_starts = {0, 5}});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 4, 5, 9, 12));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 2, 5, 7, 11, 12));
}

TEST(SegmentPlan, HasOneSegmentPerDocumentUnderFullAttention) {
  const SegmentPlan plan = make_segment_plan({.num_rows = 2, .row_tokens = 6, .document_starts = {2, 6, 9}});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 2, 6, 9, 12));
  EXPECT_EQ(plan.bounds[0], plan.bounds[1]);
}

TEST(SegmentPlan, TakesTheLargestGroupThereIs) {
  const int64_t largest = std::numeric_limits<int64_t>::max();
  const SegmentPlan plan = make_segment_plan({.num_rows = 3, .row_tokens = 4, .group_tokens = largest});
  EXPECT_THAT(plan.bounds[0], ElementsAre(0, 4, 8, 12));
  EXPECT_THAT(plan.bounds[1], ElementsAre(0, 4, 8, 12));
}

TEST(SegmentPlan, TakesTheNarrowerOfTwoWindows) {
  const SegmentPlan plan = make_segment_plan({.num_rows = 1, .row_tokens = 8});
  EXPECT_EQ(plan.window_tokens, 0);
  EXPECT_EQ(with_window(plan, 0).window_tokens, 0);
  const SegmentPlan narrow = with_window(plan, 5);
  EXPECT_EQ(narrow.window_tokens, 5);
  EXPECT_EQ(narrow.bounds, plan.bounds);
  EXPECT_EQ(with_window(narrow, 0).window_tokens, 5);
  EXPECT_EQ(with_window(narrow, 7).window_tokens, 5);
  EXPECT_EQ(with_window(narrow, 3).window_tokens, 3);
}

std::string refusal(const SegmentPlanOptions& options) {
  try {
    make_segment_plan(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(SegmentPlan, RefusesSizesAndStartsThatMakeNoSense) {
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
