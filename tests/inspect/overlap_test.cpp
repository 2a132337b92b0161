#include "longlora/inspect/overlap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/inspect/made_samples.h"

namespace longlora::inspect {
namespace {

std::vector<HeldOutSample> look_up(const std::vector<Sample>& held_out, const std::vector<Sample>& samples) {
  HeldOutIndex index;
  for (const Sample& sample : held_out) index.add(fingerprint_of(sample), make_grams(sample));
  index.build();
  for (size_t i = 0; i < samples.size(); ++i)
    index.note(index.match(fingerprint_of(samples[i]), samples[i]), static_cast<int64_t>(i));
  return index.results();
}

TEST(Overlap, OfDifferentTextsIsNone) {
  const auto found = look_up({text_sample(made_text(1, 50))}, {text_sample(made_text(2, 5000))});
  EXPECT_EQ(found.at(0).num_grams, 50 - 12);
  EXPECT_EQ(found.at(0).num_found, 0);
  EXPECT_EQ(found.at(0).nearest, HeldOutSample::kNone);
  EXPECT_EQ(found.at(0).same, HeldOutSample::kNone);
}

TEST(Overlap, CountsTheRunsOfThirteenWordsThatAreFound) {
  const std::string passage = made_text(1, 30);
  const auto found =
      look_up({text_sample(made_text(2, 20) + passage)},
              {text_sample(made_text(3, 500)), text_sample(made_text(4, 9) + passage + "end")});
  EXPECT_EQ(found.at(0).num_grams, 50 - 12);
  EXPECT_EQ(found.at(0).num_found, 30 - 12);
  EXPECT_EQ(found.at(0).nearest, 1);
  EXPECT_EQ(found.at(0).same, HeldOutSample::kNone);
}

TEST(Overlap, JoinsWhatSeveralSamplesHold) {
  const std::string first = made_text(1, 40), second = made_text(2, 60);
  const auto found = look_up({text_sample(first + second)}, {text_sample(first), text_sample(second)});
  EXPECT_EQ(found.at(0).num_found, 40 - 12 + 60 - 12);
  EXPECT_EQ(found.at(0).nearest, 1);  // it holds more
}

TEST(Overlap, KnowsEqualSamplesAndEqualQuestions) {
  const auto found =
      look_up({question_sample("Q", "A"), question_sample("Q", "B"), question_sample("R", "A")},
              {question_sample("X", "Y"), question_sample("Q", "A")});
  EXPECT_EQ(found.at(0).same, 1);
  EXPECT_EQ(found.at(1).same, HeldOutSample::kNone);
  EXPECT_EQ(found.at(1).same_question, 1);
  EXPECT_EQ(found.at(2).same_question, HeldOutSample::kNone);
  EXPECT_EQ(found.at(0).num_grams, 0);  // shorter than a run
}

TEST(Overlap, TellsAnswersFromQuestions) {
  const std::string question = made_text(1, 40), answer = made_text(2, 30);
  const auto found = look_up({question_sample(question, answer)},
                             {question_sample(question, made_text(3, 30)), question_sample("Q", answer)});
  EXPECT_EQ(found.at(0).num_answer_grams, 30 - 12);
  EXPECT_EQ(found.at(0).num_answer_found, 30 - 12);
  EXPECT_EQ(found.at(0).num_found, 40 - 12 + 30 - 12);
  const auto none =
      look_up({question_sample(question, answer)}, {question_sample(question, made_text(3, 30))});
  EXPECT_EQ(none.at(0).num_answer_found, 0);
  EXPECT_EQ(none.at(0).num_found, 40 - 12);
}

TEST(Overlap, IsNotDecidedByWordsThatAllHeldOutSamplesHave) {
  const std::string form = made_text(1, 60);
  std::vector<Sample> held_out;
  for (uint64_t i = 0; i < 100; ++i) held_out.push_back(text_sample(form + made_text(10 + i, 30)));
  const auto found = look_up(held_out, {text_sample(form), text_sample("x " + made_text(13, 30))});
  EXPECT_EQ(found.at(3).nearest, 1);
  EXPECT_EQ(found.at(4).num_found, 60 - 12);
}

TEST(Overlap, QuotesTheLongestPassageAsItIsWritten) {
  const std::string held_out = made_text(1, 20) + "Of   the PASSAGE, " + made_text(2, 15) + made_text(3, 20);
  const std::string other = made_text(4, 20) + "of the passage " + made_text(2, 15) + made_text(5, 20);
  const SharedPassage passage = find_shared_passage(text_sample(held_out), text_sample(other));
  std::string expected = "Of   the PASSAGE, " + made_text(2, 15);
  expected.pop_back();
  EXPECT_EQ(passage.text, expected);
  EXPECT_EQ(passage.num_words, 18);
  EXPECT_DOUBLE_EQ(passage.in_sample, (18.0 - 12.0) / (58.0 - 12.0));
  EXPECT_EQ(find_shared_passage(text_sample(made_text(1, 40)), text_sample(made_text(2, 40))).num_words, 0);
}

}  // namespace
}  // namespace longlora::inspect
