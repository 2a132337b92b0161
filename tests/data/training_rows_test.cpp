#include "longlora/data/training_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "longlora/core/error.h"
#include "longlora/core/random.h"

namespace longlora::data {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> random_lengths(size_t count, int64_t most, uint64_t seed) {
  std::vector<int64_t> lengths(count);
  for (size_t i = 0; i < count; ++i)
    lengths[i] = 1 + static_cast<int64_t>(mix_bits(seed, i) % static_cast<uint64_t>(most));
  return lengths;
}

int64_t tokens_of(const std::vector<int64_t>& row, const std::vector<int64_t>& lengths) {
  return std::accumulate(row.begin(), row.end(), int64_t{0},
                         [&](int64_t sum, int64_t i) { return sum + lengths[static_cast<size_t>(i)]; });
}

TEST(Packing, PutsEverySampleIntoOneRowThatHoldsIt) {
  for (const Packing packing : {Packing::kNone, Packing::kBestFit, Packing::kInOrder}) {
    const auto lengths = random_lengths(500, 100, 1);
    std::vector<int64_t> seen;
    for (const auto& row : pack(lengths, 100, packing)) {
      EXPECT_FALSE(row.empty());
      EXPECT_TRUE(std::is_sorted(row.begin(), row.end()));
      EXPECT_LE(tokens_of(row, lengths), 100);
      seen.insert(seen.end(), row.begin(), row.end());
    }
    EXPECT_TRUE(packing == Packing::kBestFit || std::is_sorted(seen.begin(), seen.end()));
    std::sort(seen.begin(), seen.end());
    ASSERT_EQ(seen.size(), lengths.size());
    for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int64_t>(i));
  }
}

TEST(Packing, ByBestFitChoosesTheRowWithTheLeastRoom) {
  // 7 and 6 open rows of 10 with 3 and 4 left; 3 fits the first best, 4 the second.
  EXPECT_THAT(pack({3, 7, 4, 6}, 10, Packing::kBestFit), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_THAT(pack({10, 10}, 10, Packing::kBestFit), ElementsAre(ElementsAre(0), ElementsAre(1)));
}

TEST(Packing, ByBestFitLeavesFewPlacesEmpty) {
  const auto lengths = random_lengths(2000, 4000, 2);
  const auto tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const auto rows = static_cast<int64_t>(pack(lengths, 8192, Packing::kBestFit).size());
  EXPECT_LE(rows * 8192, tokens + tokens / 50);
  EXPECT_LT(rows, static_cast<int64_t>(pack(lengths, 8192, Packing::kInOrder).size()));
}

TEST(Packing, RefusesWhatNoRowHolds) {
  EXPECT_THROW(pack({5, 11}, 10, Packing::kBestFit), Error);
  EXPECT_THROW(pack({0}, 10, Packing::kNone), Error);
}

// Samples of the given sizes, ids counted on; everything from the second token on is an answer.
InstructionSet samples_of(const std::vector<int64_t>& lengths) {
  InstructionSet set;
  int32_t id = 100;
  for (const int64_t length : lengths) {
    InstructionTokens sample;
    for (int64_t i = 0; i < length; ++i) sample.ids.push_back(id++);
    sample.answers = {{length / 2, length}};
    set.samples.push_back(sample);
    set.counts.num_tokens += length;
  }
  return set;
}

TEST(InstructionRows, HoldSamplesThatKnowNothingOfEachOther) {
  const InstructionRows rows(samples_of({4, 3, 5}), 8, Packing::kInOrder);
  ASSERT_EQ(rows.num_rows(), 2);
  EXPECT_EQ(rows.row_tokens(0), 7);
  EXPECT_EQ(rows.row_tokens(1), 5);
  EXPECT_EQ(rows.num_tokens(), 12);
  EXPECT_EQ(rows.num_labels(0), 4);
  const TrainingRow row = rows.row(0);
  EXPECT_THAT(row.ids, ElementsAre(100, 101, 102, 103, 104, 105, 106));
  EXPECT_THAT(row.labels, ElementsAre(kNoLabel, 102, 103, kNoLabel, 105, 106, kNoLabel));
  EXPECT_THAT(row.positions, ElementsAre(0, 1, 2, 3, 0, 1, 2));
  EXPECT_THAT(row.starts, ElementsAre(0, 4));
}

TEST(InstructionRows, PredictNothingBeforeTheFirstToken) {
  InstructionSet set = samples_of({3});
  set.samples[0].answers = {{0, 2}};
  const TrainingRow row = InstructionRows(std::move(set), 8, Packing::kNone).row(0);
  EXPECT_THAT(row.labels, ElementsAre(101, kNoLabel, kNoLabel));
}

}  // namespace
}  // namespace longlora::data
