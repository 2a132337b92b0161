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

TEST(RowOrder, RefusesDataWithoutARow) {
  EXPECT_THROW(RowOrder(0, true, 1), InputError);
}

}  // namespace
}  // namespace longlora::data
