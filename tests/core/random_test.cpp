#include "longlora/core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "longlora/core/error.h"
#include "longlora/core/json.h"

namespace longlora {
namespace {

// Written by scripts/references/numpy_random.py.
Json golden() {
  return read_json(LONGLORA_SOURCE_DIR "/tests/data/numpy_random/golden.json");
}

TEST(NumpyRandom, EqualsNumPyBitForBit) {
  const Json expected_values = golden();
  for (const Json& seed : expected_values["seeds"]) {
    NumpyRandom random(seed["seed"].get<uint32_t>());
    for (const Json& expected : seed["first_u32"])
      ASSERT_EQ(random.next_u32(), expected.get<uint32_t>()) << "seed " << seed["seed"];
  }
}

TEST(NumpyRandom, DrawsTheIntegersNumPyDraws) {
  const Json expected_values = golden();
  for (const Json& sequence : expected_values["randint"]) {
    NumpyRandom random(sequence["seed"].get<uint32_t>());
    for (const Json& draw : sequence["draws"]) {
      ASSERT_EQ(random.randint(draw[0].get<int64_t>(), draw[1].get<int64_t>()), draw[2].get<int64_t>())
          << "seed " << sequence["seed"] << ", randint(" << draw[0] << ", " << draw[1] << ")";
    }
  }
}

TEST(NumpyRandom, RefusesAnEmptyRange) {
  NumpyRandom random(0);
  EXPECT_THROW(random.randint(3, 3), Error);
}

TEST(MixBits, EqualsSplitMix64) {  // https://prng.di.unimi.it/splitmix64.c, seed 1234567
  EXPECT_EQ(mix_bits(1234567, 0), 6457827717110365317u);
  EXPECT_EQ(mix_bits(1234567, 1), 3203168211198807973u);
  EXPECT_EQ(mix_bits(1234567, 4), 16408922859458223821u);
}

TEST(Permutation, HoldsEveryIndexOnceAndDependsOnTheSeed) {
  std::vector<int64_t> order = permutation(1000, 7);
  EXPECT_EQ(order, permutation(1000, 7));
  EXPECT_NE(order, permutation(1000, 8));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(order[i], i);
  EXPECT_TRUE(permutation(0, 1).empty());
  EXPECT_EQ(permutation(1, 1), std::vector<int64_t>{0});
}

TEST(Permutation, GivesEveryOrderAboutEquallyOften) {
  std::map<std::vector<int64_t>, int> counts;
  constexpr int kDraws = 24'000;
  for (int seed = 0; seed < kDraws; ++seed) ++counts[permutation(4, mix_bits(1, seed))];
  ASSERT_EQ(counts.size(), 24u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, kDraws / 24.0, 160);  // five deviations
}

}  // namespace
}  // namespace longlora
