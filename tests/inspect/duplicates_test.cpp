#include "longlora/inspect/duplicates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/inspect/made_samples.h"

namespace longlora::inspect {
namespace {

using ::testing::IsEmpty;

FoundDuplicates find(const std::vector<Sample>& samples, int num_threads = 1) {
  std::vector<Fingerprint> fingerprints;
  for (const Sample& sample : samples) fingerprints.push_back(fingerprint_of(sample));
  return find_duplicates(
      fingerprints, [&](size_t i) { return make_shingle_sets(samples[i]); }, num_threads);
}

std::vector<std::pair<size_t, size_t>> numbers(const std::vector<AlikePair>& pairs) {
  std::vector<std::pair<size_t, size_t>> found;
  for (const AlikePair& pair : pairs) found.emplace_back(pair.first, pair.second);
  return found;
}

using Pairs = std::vector<std::pair<size_t, size_t>>;

TEST(Duplicates, AreNoneAmongDifferentSamples) {
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 300; ++i)
    samples.push_back(question_sample(made_text(i, 60), made_text(1000 + i, 20)));
  const FoundDuplicates found = find(samples);
  EXPECT_EQ(found.num_exact + found.num_near + found.num_same_question + found.num_same_material, 0);
  EXPECT_THAT(found.near_pairs, IsEmpty());
}

TEST(Duplicates, ThatAreExactAreCountedFromTheFirst) {
  const Sample a = question_sample("What?", "This."), b = question_sample("Wha", "t?This.");
  const FoundDuplicates found = find({a, b, a, a});
  EXPECT_EQ(found.num_exact, 2);
  EXPECT_EQ(numbers(found.exact_pairs), (Pairs{{0, 2}, {0, 3}}));
  EXPECT_EQ(found.num_near, 0);  // what is exact is not counted again
}

TEST(Duplicates, ThatAreNearAreMeasured) {
  const std::string text = made_text(1, 100);
  const FoundDuplicates found =
      find({text_sample(text), text_sample(made_text(2, 100)), text_sample(text + "more")});
  EXPECT_EQ(found.num_near, 1);
  ASSERT_EQ(numbers(found.near_pairs), (Pairs{{0, 2}}));
  EXPECT_DOUBLE_EQ(found.near_pairs[0].similarity, 96.0 / 97.0);  // shingles of 5 words
}

TEST(Duplicates, BelowTheThresholdStayApart) {
  const std::string text = made_text(1, 100);
  // Of 96 shingles, 5 and 5 are other ones after one changed word, 25 and 25 after five.
  const auto changed = [&](int count) {
    std::string other;
    std::string word;
    int at = 0;
    for (const char c : text) {
      word += c;
      if (c != ' ') continue;
      other += at % 20 == 10 && at / 20 < count ? "other " : word;
      word.clear();
      ++at;
    }
    return other;
  };
  const FoundDuplicates one = find({text_sample(text), text_sample(changed(1))});
  EXPECT_EQ(one.num_near, 1);
  EXPECT_DOUBLE_EQ(one.near_pairs.at(0).similarity, 91.0 / 101.0);
  EXPECT_EQ(find({text_sample(text), text_sample(changed(5))}).num_near, 0);
}

TEST(Duplicates, WithAnotherAnswerHaveTheSameQuestionOrMaterial) {
  const std::string material = made_text(1, 500);
  const FoundDuplicates found = find({question_sample(material + "Who?", made_text(2, 30)),
                                      question_sample(material + "Where?", made_text(3, 30)),
                                      question_sample(material + "Who?", made_text(4, 30)),
                                      question_sample(material + "Where was it?", made_text(3, 30) + "x")});
  EXPECT_EQ(found.num_exact, 0);
  EXPECT_EQ(found.num_same_question, 1);
  EXPECT_EQ(found.num_near, 1);  // the last repeats the second
  EXPECT_EQ(numbers(found.near_pairs), (Pairs{{1, 3}}));
  EXPECT_EQ(found.num_same_material, 2);
}

TEST(Duplicates, AreFoundAmongManyOfTheSameMaterial) {
  const std::string material = made_text(1, 800);
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 50; ++i)
    samples.push_back(question_sample(material + made_text(i, 3), made_text(100 + i, 25)));
  samples.push_back(question_sample(material + "again", made_text(117, 25) + "x"));
  const FoundDuplicates found = find(samples);
  EXPECT_EQ(numbers(found.near_pairs), (Pairs{{17, 50}}));
  EXPECT_EQ(found.num_same_material, 49);
}

TEST(Duplicates, DoNotDependOnTheNumberOfThreads) {
  std::vector<Sample> samples;
  for (uint64_t i = 0; i < 60; ++i) samples.push_back(text_sample(made_text(i / 3, 80) + made_text(i, 4)));
  const FoundDuplicates one = find(samples, 1), four = find(samples, 4);
  EXPECT_GT(one.num_near, 0);
  EXPECT_EQ(one.num_near, four.num_near);
  EXPECT_EQ(numbers(one.near_pairs), numbers(four.near_pairs));
}

TEST(Duplicates, OfSamplesWithoutWordsAreExactAlone) {
  const FoundDuplicates found = find({text_sample("!?"), text_sample("?!"), text_sample("!?")});
  EXPECT_EQ(found.num_exact, 1);
  EXPECT_EQ(found.num_near, 0);
}

TEST(Duplicates, OfIdsAreFoundWithoutText) {
  Sample a, b, c;
  for (int64_t i = 0; i < 200; ++i) a.ids.push_back(i * i % 977);
  b.ids = c.ids = a.ids;
  c.ids.back() = 5000;
  const FoundDuplicates found = find({a, b, c});
  EXPECT_EQ(found.num_exact, 1);
  EXPECT_EQ(found.num_near, 1);
}

}  // namespace
}  // namespace longlora::inspect
