#include "longlora/generate/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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

// The ids that can come, in ascending order.
std::vector<int64_t> possible(const at::Tensor& logits, const SamplingOptions& options,
                              const std::vector<int64_t>& prompt = {}) {
  std::vector<int64_t> ids;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SamplingOptions seeded = options;
    seeded.seed = seed;
    ids.push_back(make_sampler(seeded, prompt)(logits));
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

TEST(Sampler, AddsBiasBeforeAllElse) {
  const at::Tensor logits = at::tensor(std::vector<float>{1.0f, 2.0f, 3.0f});
  EXPECT_EQ(make_sampler({.temperature = 0.0, .logit_bias = {{0, 5.0}}})(logits), 0);
  EXPECT_EQ(make_sampler({.temperature = 0.0, .logit_bias = {{2, -100.0}}})(logits), 1);
}

TEST(Sampler, PenalisesWhatTheTextHasAsOftenAsItHasIt) {
  const at::Tensor logits = at::tensor(std::vector<float>{3.0f, 2.5f, 1.9f});
  const auto sequence = [&](const SamplingOptions& options, size_t count) {
    const PickToken pick = make_sampler(options, std::vector<int64_t>{0, 0, 0});
    std::vector<int64_t> ids(count);
    for (int64_t& id : ids) id = pick(logits);
    return ids;
  };
  // The prompt does not count.
  EXPECT_THAT(sequence({.temperature = 0.0, .presence_penalty = 1.0}, 4), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(sequence({.temperature = 0.0, .frequency_penalty = 0.6}, 5), ElementsAre(0, 1, 0, 1, 2));
}

TEST(Sampler, RepetitionCountsTheLastIdsOfPromptAndText) {
  const at::Tensor logits = at::tensor(std::vector<float>{3.0f, 2.9f, 2.8f});
  const std::vector<int64_t> prompt = {0, 1, 2, 2};
  const auto first = [&](SamplingOptions options) {
    options.temperature = 0.0;
    options.repetition_penalty = 2.0;
    return make_sampler(options, prompt)(logits);
  };
  EXPECT_EQ(first({}), 0);  // all are penalised alike
  EXPECT_EQ(first({.repeat_last_n = 2}), 0);
  EXPECT_EQ(first({.repeat_last_n = 4}), 0);
  const std::vector<int64_t> other = {0, 1};
  EXPECT_EQ(make_sampler({.temperature = 0.0, .repetition_penalty = 2.0}, other)(logits), 2);
  EXPECT_EQ(make_sampler({.temperature = 0.0, .repetition_penalty = 2.0, .repeat_last_n = 1}, other)(logits),
            0);
  EXPECT_EQ(
      make_sampler({.temperature = 0.0, .repetition_penalty = 2.0, .penalize_prompt = false}, other)(logits),
      0);
}

TEST(Sampler, SumsTheNucleusOverWhatTopKLeaves) {
  const at::Tensor logits = logits_of({0.5, 0.3, 0.15, 0.05});
  EXPECT_THAT(possible(logits, {.temperature = 1.0, .top_p = 0.6, .top_k = 2}), ElementsAre(0));
  EXPECT_THAT(possible(logits, {.temperature = 1.0, .top_p = 0.63, .top_k = 2}), ElementsAre(0, 1));
}

TEST(Sampler, LlamaCppsOrderRestrictsBeforeTheTemperature) {
  const at::Tensor logits = logits_of({0.6, 0.3, 0.1});
  // At temperature 3 the nucleus of 0.8 has all three, at 1 the first two.
  EXPECT_THAT(possible(logits, {.temperature = 3.0, .top_p = 0.8}), ElementsAre(0, 1, 2));
  EXPECT_THAT(possible(logits, {.temperature = 3.0, .top_p = 0.8, .order = SamplingOrder::kLlamaCpp}),
              ElementsAre(0, 1));
  EXPECT_THAT(possible(logits, {.temperature = 3.0, .top_p = 1.0, .min_p = 0.4}), ElementsAre(0, 1, 2));
  EXPECT_THAT(
      possible(logits, {.temperature = 3.0, .top_p = 1.0, .min_p = 0.4, .order = SamplingOrder::kLlamaCpp}),
      ElementsAre(0, 1));
  // Equal to the last of top_k: transformers keeps them.
  const at::Tensor equal = logits_of({0.4, 0.3, 0.3});
  EXPECT_THAT(possible(equal, {.temperature = 1.0, .top_p = 1.0, .top_k = 2}), ElementsAre(0, 1, 2));
  EXPECT_THAT(
      possible(equal, {.temperature = 1.0, .top_p = 1.0, .top_k = 2, .order = SamplingOrder::kLlamaCpp}),
      ElementsAre(0, 1));
}

TEST(Sampler, RefusesPenaltiesThatAreNoNumbers) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(make_sampler({.presence_penalty = nan}), UsageError);
  EXPECT_THROW(make_sampler({.frequency_penalty = nan}), UsageError);
  EXPECT_THROW(make_sampler({.logit_bias = {{1, nan}}}), UsageError);
  EXPECT_THROW(make_sampler({.repeat_last_n = -1}), UsageError);
}

}  // namespace
}  // namespace longlora::generate
