#include "longlora/generate/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "longlora/core/error.h"

namespace longlora::generate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::ThrowsMessage;

at::Tensor logits_of(const std::vector<double>& probabilities) {
  return at::tensor(probabilities).log().to(at::kFloat);
}

// How often each id comes in `draws` draws.
std::map<int64_t, int64_t> draw(const at::Tensor& logits, const SamplingOptions& options, int64_t draws) {
  const PickToken pick = make_sampler(options);
  std::map<int64_t, int64_t> counts;
  for (int64_t i = 0; i < draws; ++i) ++counts[pick(logits)];
  return counts;
}

TEST(Sampler, DrawsAsOftenAsTheProbabilitiesSay) {
  const std::vector<double> probabilities = {0.1, 0.4, 0.2, 0.3};
  const auto counts = draw(logits_of(probabilities), {.temperature = 1.0, .top_p = 1.0}, 40000);
  for (size_t id = 0; id < probabilities.size(); ++id) {
    const double p = probabilities[id], deviation = std::sqrt(p * (1 - p) / 40000);
    EXPECT_NEAR(static_cast<double>(counts.at(static_cast<int64_t>(id))) / 40000, p, 4 * deviation) << id;
  }
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  // p^(1/t), normalised.
  const auto cold = draw(logits_of({0.2, 0.8}), {.temperature = 0.5, .top_p = 1.0}, 40000);
  EXPECT_NEAR(static_cast<double>(cold.at(0)) / 40000, 0.04 / 0.68, 0.005);
  const auto warm = draw(logits_of({0.2, 0.8}), {.temperature = 2.0, .top_p = 1.0}, 40000);
  EXPECT_NEAR(static_cast<double>(warm.at(0)) / 40000, 1.0 / 3.0, 0.01);
}

TEST(Sampler, KeepsTheTokenThatReachesTopP) {
  const at::Tensor logits = logits_of({0.05, 0.5, 0.15, 0.3});
  const auto ids = [&](double top_p) {
    std::vector<int64_t> found;
    for (const auto& [id, count] : draw(logits, {.temperature = 1.0, .top_p = top_p}, 2000))
      found.push_back(id);
    return found;
  };
  EXPECT_THAT(ids(0.45), ElementsAre(1));
  EXPECT_THAT(ids(0.55), ElementsAre(1, 3));
  EXPECT_THAT(ids(0.85), ElementsAre(1, 2, 3));
  EXPECT_THAT(ids(0.97), ElementsAre(0, 1, 2, 3));
  // The nucleus shares out all of the probability.
  const auto counts = draw(logits, {.temperature = 1.0, .top_p = 0.55}, 40000);
  EXPECT_NEAR(static_cast<double>(counts.at(3)) / 40000, 0.3 / 0.8, 0.01);
}

TEST(Sampler, FindsTheNucleusAmongManyUnlikelyTokens) {
  std::vector<double> probabilities(5000, 0.2 / 4998);
  probabilities[17] = 0.5;
  probabilities[4000] = 0.3;
  EXPECT_THAT(draw(logits_of(probabilities), {.temperature = 1.0, .top_p = 0.79}, 2000),
              ElementsAre(Pair(17, testing::Gt(1100)), Pair(4000, testing::Gt(600))));
}

TEST(Sampler, TheSeedDecides) {
  const at::Tensor logits = at::zeros({1000});
  const auto sequence = [&](uint64_t seed) {
    const PickToken pick = make_sampler({.temperature = 1.0, .top_p = 1.0, .seed = seed});
    std::vector<int64_t> ids(20);
    for (int64_t& id : ids) id = pick(logits);
    return ids;
  };
  EXPECT_EQ(sequence(3), sequence(3));
  EXPECT_NE(sequence(3), sequence(4));
}

TEST(Sampler, TemperatureZeroIsGreedyAndOfEqualsTheSmallestIdComesFirst) {
  const at::Tensor logits = logits_of({0.2, 0.4, 0.4});
  EXPECT_THAT(draw(logits, {.temperature = 0.0}, 20), ElementsAre(Pair(1, 20)));
  EXPECT_THAT(draw(logits, {.temperature = 1.0, .top_p = 0.3}, 20), ElementsAre(Pair(1, 20)));
}

TEST(Sampler, MaskedTokensNeverCome) {
  at::Tensor logits = at::zeros({3});
  logits[1] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(draw(logits, {.temperature = 1.0, .top_p = 1.0}, 500).count(1), 0u);
}

TEST(Sampler, RefusesWhatMakesNoSense) {
  for (const double temperature : {-0.1, std::nan(""), std::numeric_limits<double>::infinity()})
    EXPECT_THAT([&] { make_sampler({.temperature = temperature}); },
                ThrowsMessage<UsageError>(HasSubstr("[--temperature]")));
  for (const double top_p : {0.0, 1.1, std::nan("")})
    EXPECT_THAT([&] { make_sampler({.top_p = top_p}); }, ThrowsMessage<UsageError>(HasSubstr("[--top_p]")));
  const PickToken pick = make_sampler({});
  EXPECT_THAT([&] { pick(at::full({4}, std::nan(""))); }, ThrowsMessage<Error>(HasSubstr("finite")));
}

}  // namespace
}  // namespace longlora::generate
