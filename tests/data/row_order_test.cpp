#include <gtest/gtest.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/data/token_data.h"

namespace longlora::data {
namespace {

std::vector<int64_t> take(RowOrder order, int64_t from, int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t i = from; i < from + count; ++i) rows.push_back(order.row_at(i));
  return rows;
}

TEST(RowOrder, CountsUpAgainInEachEpochWithoutShuffling) {
  EXPECT_EQ(take(RowOrder(3, false, 1), 0, 7), (std::vector<int64_t>{0, 1, 2, 0, 1, 2, 0}));
}

TEST(RowOrder, VisitsEveryRowOnceInEachShuffledEpoch) {
  std::vector<int64_t> epochs[3];
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    epochs[epoch] = take(RowOrder(100, true, 5), 100 * epoch, 100);
    std::vector<int64_t> sorted = epochs[epoch];
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, take(RowOrder(100, false, 0), 0, 100));
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_NE(epochs[0], take(RowOrder(100, true, 6), 0, 100));
}

TEST(RowOrder, DependsOnThePositionAloneAndNotOnWhatWasAskedBefore) {
  RowOrder order(10, true, 3);
  const std::vector<int64_t> forward = take(RowOrder(10, true, 3), 0, 40);
  for (int64_t i = 39; i >= 0; --i) EXPECT_EQ(order.row_at(i), forward[static_cast<size_t>(i)]);
}

TEST(RowOrder, KeepsItsOrderFromOneVersionToTheNext) {
  // A change here would make interrupted runs resume on other data.
  EXPECT_EQ(take(RowOrder(8, true, 42), 0, 16),
            (std::vector<int64_t>{3, 6, 0, 7, 1, 2, 5, 4, 0, 3, 4, 5, 7, 2, 1, 6}));
}

TEST(RowOrder, PutsRowsOfLikeLengthTogether) {
  std::vector<int64_t> lengths(1003);
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = static_cast<int64_t>(i * 7919 % 1000);
  const RowOrder order(lengths, 4, 5);
  const auto epoch = take(order, 0, 1003), next = take(order, 1003, 1003);
  EXPECT_NE(epoch, next);
  EXPECT_EQ(epoch, take(RowOrder(lengths, 4, 5), 0, 1003));
  auto sorted = epoch;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, take(RowOrder(1003, false, 0), 0, 1003));
  // 200 sorted rows of lengths up to 1000: a batch of four spans 20 on average; a random one 600.
  int64_t spans = 0;
  for (size_t i = 0; i + 4 <= 1000; i += 4) {
    const auto [low, high] =
        std::minmax_element(epoch.begin() + i, epoch.begin() + i + 4,
                            [&](int64_t a, int64_t b) { return lengths[a] < lengths[b]; });
    spans += lengths[*high] - lengths[*low];
  }
  EXPECT_LT(spans, 250 * 40);
  // Short and long batches come in no order.
  int64_t descents = 0;
  for (size_t i = 4; i < 200; i += 4) descents += lengths[epoch[i]] < lengths[epoch[i - 4]] ? 1 : 0;
  EXPECT_GT(descents, 12);
  EXPECT_LT(descents, 37);
}

TEST(RowOrder, RefusesDataWithoutARow) {
  EXPECT_THROW(RowOrder(0, true, 1), InputError);
}

}  // namespace
}  // namespace longlora::data
