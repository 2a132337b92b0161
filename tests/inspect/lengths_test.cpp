#include "longlora/inspect/lengths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace longlora::inspect {
namespace {

using ::testing::IsEmpty;

std::vector<int64_t> upto(int64_t last) {
  std::vector<int64_t> lengths(static_cast<size_t>(last));
  std::iota(lengths.begin(), lengths.end(), 1);
  return lengths;
}

TEST(Quantiles, AreLengthsThatOccur) {
  const results::LengthSummary summary = summarize_lengths("whole", {40, 10, 30, 20});
  EXPECT_EQ(summary.least, 10);
  EXPECT_EQ(summary.p5, 10);
  EXPECT_EQ(summary.median, 20);  // half of them are at most 20
  EXPECT_EQ(summary.p95, 40);
  EXPECT_EQ(summary.most, 40);
  EXPECT_DOUBLE_EQ(summary.mean, 25.0);
  EXPECT_EQ(summary.sum, 100);
}

TEST(Quantiles, OfAHundredAreTheirRanks) {
  const results::LengthSummary summary = summarize_lengths("whole", upto(100));
  EXPECT_EQ(summary.p5, 5);
  EXPECT_EQ(summary.median, 50);
  EXPECT_EQ(summary.p95, 95);
}

TEST(Quantiles, OfOneLengthAreThatLength) {
  const results::LengthSummary summary = summarize_lengths("whole", {7});
  EXPECT_EQ(summary.least, 7);
  EXPECT_EQ(summary.p5, 7);
  EXPECT_EQ(summary.p95, 7);
}

// Every length is in exactly one bin, and bins follow each other without gaps.
void expect_sound(const std::vector<results::LengthBin>& bins, const std::vector<int64_t>& lengths) {
  int64_t total = 0;
  for (size_t i = 0; i < bins.size(); ++i) {
    EXPECT_LE(bins[i].from, bins[i].to);
    if (i > 0 && bins[i - 1].from > 0) {
      EXPECT_EQ(bins[i].from, bins[i - 1].to + 1);
    }
    int64_t inside = 0;
    for (const int64_t length : lengths) inside += length >= bins[i].from && length <= bins[i].to ? 1 : 0;
    EXPECT_EQ(bins[i].num_samples, inside) << bins[i].from << " to " << bins[i].to;
    total += bins[i].num_samples;
  }
  EXPECT_EQ(total, static_cast<int64_t>(lengths.size()));
}

TEST(Histogram, HasEveryLengthInOneBin) {
  expect_sound(count_lengths(upto(1), {}), upto(1));
  expect_sound(count_lengths(upto(9), {}), upto(9));
  expect_sound(count_lengths(upto(5000), {}), upto(5000));
  const std::vector<int64_t> wide = {0, 0, 1, 2, 3, 1000, 1024, 4096, 1'000'000'000'000};
  expect_sound(count_lengths(wide, {}), wide);
  const std::vector<int64_t> narrow = {9000, 9100, 12000, 15999, 16000};
  expect_sound(count_lengths(narrow, {}), narrow);
}

TEST(Histogram, HasFewerBinsInAnOctaveWhereLengthsSpreadWide) {
  EXPECT_LE(count_lengths({10, 160000}, {}).size(), 16u);
  EXPECT_GT(count_lengths({4000, 8000}, {}).size(), 3u);
}

TEST(Histogram, CountsAnswersInTheSameBins) {
  const auto bins = count_lengths({8, 300}, {8, 8, 9, 0});
  EXPECT_EQ(bins.front().from, 0);
  EXPECT_EQ(bins.front().num_answers, 1);
  int64_t num_answers = 0;
  for (const auto& bin : bins) num_answers += bin.num_answers;
  EXPECT_EQ(num_answers, 4);
}

TEST(Histogram, OfNothingHasNoBins) {
  EXPECT_THAT(count_lengths({}, {}), IsEmpty());
}

}  // namespace
}  // namespace longlora::inspect
