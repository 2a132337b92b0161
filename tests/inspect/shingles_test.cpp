#include "longlora/inspect/shingles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace longlora::inspect {
namespace {

std::vector<uint64_t> shingles_of(const std::vector<uint64_t>& words, size_t size) {
  Shingler shingler(size);
  std::vector<uint64_t> shingles;
  for (const uint64_t word : words)
    if (const auto shingle = shingler.add(word)) shingles.push_back(*shingle);
  if (const auto shingle = shingler.finish()) shingles.push_back(*shingle);
  return shingles;
}

TEST(Shingles, AreEqualForEqualRunsWhereverTheyStand) {
  const auto first = shingles_of({9, 8, 1, 2, 3, 4}, 3), second = shingles_of({1, 2, 3, 7, 7}, 3);
  ASSERT_EQ(first.size(), 4u);
  ASSERT_EQ(second.size(), 3u);
  EXPECT_EQ(first[2], second[0]);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 4u);
  EXPECT_NE(shingles_of({1, 2, 3}, 3), shingles_of({3, 2, 1}, 3));  // order counts
}

TEST(Shingles, OfAShortTextAreOne) {
  EXPECT_EQ(shingles_of({5, 6}, 3).size(), 1u);
  EXPECT_NE(shingles_of({5, 6}, 3), shingles_of({5, 7}, 3));
  EXPECT_NE(shingles_of({0, 6}, 3), shingles_of({6}, 3));
  EXPECT_TRUE(shingles_of({}, 3).empty());
}

HashSet set_of(uint64_t first, uint64_t count) {
  HashSet set;
  for (uint64_t i = first; i < first + count; ++i) set.insert(mix_bits(1, i));
  return set;
}

TEST(Jaccard, IsTheShareOfCommonMembers) {
  EXPECT_DOUBLE_EQ(jaccard(set_of(0, 100), set_of(0, 100)), 1.0);
  EXPECT_DOUBLE_EQ(jaccard(set_of(0, 100), set_of(50, 100)), 50.0 / 150.0);
  EXPECT_DOUBLE_EQ(jaccard(set_of(0, 10), set_of(10, 10)), 0.0);
  EXPECT_DOUBLE_EQ(jaccard(HashSet(), set_of(0, 3)), 0.0);
  EXPECT_DOUBLE_EQ(jaccard(HashSet(), HashSet()), 1.0);
}

TEST(Jaccard, OfHugeSetsIsThatOfASample) {
  const uint64_t count = 3 * HashSet::kMostMembers;
  const HashSet a = set_of(0, count), b = set_of(count / 2, count);
  EXPECT_LE(a.size(), HashSet::kMostMembers);
  EXPECT_NEAR(jaccard(a, b), 1.0 / 3.0, 0.005);
  EXPECT_DOUBLE_EQ(jaccard(a, set_of(0, count)), 1.0);
}

Sketch::Bands bands_of(uint64_t first, uint64_t count) {
  Sketch sketch;
  for (uint64_t i = first; i < first + count; ++i) sketch.add(mix_bits(2, i));
  return *sketch.finish();
}

int num_shared(const Sketch::Bands& a, const Sketch::Bands& b) {
  int count = 0;
  for (size_t band = 0; band < a.size(); ++band) count += a[band] == b[band] ? 1 : 0;
  return count;
}

// How often two sets of `size` shingles with this similarity share a band, out of 200 pairs.
int num_candidates(double similarity, uint64_t size) {
  // Of two sets with an overlap of x, |both| / |either| = x / (2 size - x).
  const auto overlap =
      static_cast<uint64_t>(std::llround(2.0 * similarity * static_cast<double>(size) / (1.0 + similarity)));
  int count = 0;
  for (uint64_t trial = 0; trial < 200; ++trial) {
    const uint64_t first = trial * 1'000'000;
    count += num_shared(bands_of(first, size), bands_of(first + size - overlap, size)) > 0 ? 1 : 0;
  }
  return count;
}

// With a chance of 0.998 each, at least 196 of 200 come out but for a chance of 1e-4 (the draws are fixed).
TEST(Sketch, FindsSimilarSetsOfAnySize) {
  for (const uint64_t size : {20u, 100u, 1000u, 20000u}) EXPECT_GE(num_candidates(0.82, size), 196) << size;
}

TEST(Sketch, LeavesDifferentSetsApart) {
  for (const uint64_t size : {20u, 100u, 1000u}) EXPECT_LE(num_candidates(0.2, size), 4) << size;
}

TEST(Sketch, OfEqualSetsIsEqualWhateverTheOrderAndRepetition) {
  Sketch forward, backward;
  for (uint64_t i = 0; i < 300; ++i) forward.add(mix_bits(3, i));
  for (uint64_t i = 600; i > 0; --i) backward.add(mix_bits(3, (i - 1) % 300));
  EXPECT_EQ(forward.finish(), backward.finish());
}

TEST(Sketch, OfNothingIsNone) {
  EXPECT_FALSE(Sketch().finish().has_value());
}

}  // namespace
}  // namespace longlora::inspect
