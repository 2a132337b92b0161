#include "longlora/data/instruction_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "longlora/core/error.h"
#include "longlora/tokenizer/chat.h"
#include "tests/data/data_folder.h"

namespace longlora::data {
namespace {

using ::testing::ElementsAre;
using tokenizer::PromptForm;

const std::filesystem::path kTestData = LONGLORA_SOURCE_DIR "/tests/data";

std::vector<int64_t> learned_places(const InstructionTokens& sample) {
  std::vector<int64_t> places;
  for (const TokenRange& answer : sample.answers)
    for (int64_t i = answer.begin; i < answer.end; ++i) places.push_back(i);
  return places;
}

TEST(InstructionTokens, AreThoseOfTheTokenizersLibraryWithItsOffsets) {
  std::map<std::string, std::unique_ptr<tokenizer::Tokenizer>> tokenizers;
  const Json cases = read_json(kTestData / "goldens/instruction_tuning/tokens.json");
  ASSERT_GT(cases.size(), 50u);
  for (const Json& each : cases) {
    const std::string name = each["tokenizer"];
    SCOPED_TRACE(name + " " + each["form"].get<std::string>() + " " + each["sample"].dump());
    auto& tokenizer = tokenizers[name];
    if (!tokenizer) {
      const test::TemporaryDirectory folder;
      write_file_atomic(folder / "tokenizer.json",
                        read_file(kTestData / "tokenizers" / name / "tokenizer.json"));
      write_json(folder / "tokenizer_config.json", {{"eos_token", each["eos"]}});
      tokenizer = tokenizer::load_tokenizer(folder.path());
    }
    const InstructionTokens sample =
        tokenize_conversation(*tokenizer, tokenizer::prompt_form_from_name(each["form"]),
                              parse_conversation(each["sample"].dump(), "sample"));
    EXPECT_EQ(Json(sample.ids), each["ids"]);
    EXPECT_EQ(Json(learned_places(sample)), each["learned"]);
    EXPECT_TRUE(sample.is_certain);
  }
}

std::string text_of(const tokenizer::Tokenizer& tokenizer, const InstructionTokens& sample,
                    const TokenRange& range) {
  std::string text;
  for (int64_t i = range.begin; i < range.end; ++i)
    text += tokenizer.token_bytes(sample.ids[static_cast<size_t>(i)]);
  return text;
}

const Conversation kTwoTurns = {{tokenizer::Role::kUser, "Tell me a story about a little dog."},
                                {tokenizer::Role::kAssistant, "Once upon a time."},
                                {tokenizer::Role::kUser, "More?"},
                                {tokenizer::Role::kAssistant, "The end."}};

TEST(TokenizeQuestion, EndsWhereTheLastAnswerBegins) {
  const auto tokenizer = stories_tokenizer();
  for (const PromptForm form : {PromptForm::kLlama2, PromptForm::kAlpaca, PromptForm::kNone}) {
    SCOPED_TRACE(tokenizer::prompt_form_name(form));
    const InstructionTokens whole = tokenize_conversation(*tokenizer, form, kTwoTurns);
    const std::vector<int64_t> question = tokenizer::tokenize_question(*tokenizer, form, kTwoTurns);
    ASSERT_LT(question.size(), whole.ids.size());
    // No token of these texts reaches over the boundary.
    EXPECT_EQ(question,
              std::vector<int64_t>(whole.ids.begin(), whole.ids.begin() + whole.answers.back().begin));
  }
}

TEST(InstructionTokens, LearnEveryAnswerAndItsEnd) {
  const auto tokenizer = stories_tokenizer();
  for (const PromptForm form : {PromptForm::kLlama2, PromptForm::kAlpaca}) {
    const InstructionTokens sample = tokenize_conversation(*tokenizer, form, kTwoTurns);
    ASSERT_EQ(sample.answers.size(), 2u);
    EXPECT_EQ(text_of(*tokenizer, sample, sample.answers[0]), "Once upon a time.</s>");
    EXPECT_EQ(text_of(*tokenizer, sample, sample.answers[1]), "The end.</s>");
    EXPECT_EQ(text_of(*tokenizer, sample, sample.material), "Tell me a story about a little dog.");
    EXPECT_EQ(sample.ids.front(), *tokenizer->bos_id());
    EXPECT_EQ(sample.num_targets(), sample.answers[0].size() + sample.answers[1].size());
  }
}

TEST(InstructionTokens, DoNotLearnAnAnswerThatIsThereToBeRead) {
  const auto tokenizer = stories_tokenizer();
  for (const PromptForm form :
       {PromptForm::kLlama2, PromptForm::kAlpaca, PromptForm::kChatml, PromptForm::kNone}) {
    SCOPED_TRACE(tokenizer::prompt_form_name(form));
    const InstructionTokens whole = tokenize_conversation(*tokenizer, form, kTwoTurns);
    for (const size_t read : {size_t{1}, size_t{3}}) {
      Conversation turns = kTwoTurns;
      turns[read].learn = false;
      const InstructionTokens sample = tokenize_conversation(*tokenizer, form, turns);
      EXPECT_EQ(sample.ids, whole.ids);
      ASSERT_EQ(sample.answers.size(), 1u);
      EXPECT_EQ(sample.answers[0], whole.answers[read == 1 ? 1 : 0]);
      // What is asked does not depend on what is learned.
      EXPECT_EQ(tokenizer::tokenize_question(*tokenizer, form, turns),
                tokenizer::tokenize_question(*tokenizer, form, kTwoTurns));
    }
  }
}

TEST(InstructionTokens, CountATokenThatReachesIntoTheAnswerAsTheAnswers) {
  const auto tokenizer = stories_tokenizer();
  // "once upon" is cut inside of a word: its token is of both.
  const Conversation turns = {{tokenizer::Role::kUser, "Once upo"},
                              {tokenizer::Role::kAssistant, "n a time"}};
  const InstructionTokens sample = tokenize_conversation(*tokenizer, PromptForm::kNone, turns);
  ASSERT_EQ(sample.answers.size(), 1u);
  const std::string learned = text_of(*tokenizer, sample, sample.answers[0]);
  EXPECT_TRUE(learned.ends_with("n a time</s>"));
  EXPECT_NE(learned, "n a time</s>");
  EXPECT_EQ(text_of(*tokenizer, sample, {0, sample.answers[0].begin}) + learned, "<s> Once upon a time</s>");
}

TEST(InstructionTokens, FindTheAnswerOfATextThatTheTokenizerChanges) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "tokenizer.json", read_file(kTestData / "tokenizers/qwen/tokenizer.json"));
  write_json(folder / "tokenizer_config.json", {{"eos_token", "<|im_end|>"}});
  const auto tokenizer = tokenizer::load_tokenizer(folder.path());
  const Conversation turns = {{tokenizer::Role::kUser, "The cafe\xCC\x81? "},
                              {tokenizer::Role::kAssistant, "It is a Work."}};
  const InstructionTokens sample = tokenize_conversation(*tokenizer, PromptForm::kNone, turns);
  EXPECT_FALSE(sample.is_certain);
  ASSERT_EQ(sample.answers.size(), 1u);
  EXPECT_EQ(sample.answers[0].end, static_cast<int64_t>(sample.ids.size()));
  EXPECT_TRUE(text_of(*tokenizer, sample, sample.answers[0]).ends_with("It is a Work.<|im_end|>"));
  EXPECT_LE(text_of(*tokenizer, sample, sample.answers[0]).size(),
            std::string(" It is a Work.<|im_end|>").size());
}

// --- Truncation ---

// Ids 0 … n-1 with one answer at the end and material in the middle.
InstructionTokens numbered(int64_t num_tokens, TokenRange material, TokenRange answer) {
  InstructionTokens sample;
  for (int64_t i = 0; i < num_tokens; ++i) sample.ids.push_back(static_cast<int32_t>(10 + i));
  sample.material = material;
  sample.answers = {answer};
  return sample;
}

class TruncationTest : public ::testing::Test {
 public:
  Fit cut(InstructionTokens* sample, int64_t max_tokens, Truncation truncation) {
    return truncate(sample, max_tokens, truncation, *tokenizer);
  }
  std::unique_ptr<tokenizer::Tokenizer> tokenizer = stories_tokenizer();
};

TEST_F(TruncationTest, LeavesWhatFits) {
  for (const auto truncation :
       {Truncation::kDrop, Truncation::kLeft, Truncation::kRight, Truncation::kMiddle}) {
    InstructionTokens sample = numbered(10, {2, 6}, {8, 10});
    EXPECT_EQ(cut(&sample, 10, truncation), Fit::kWhole);
    EXPECT_EQ(sample.ids.size(), 10u);
  }
}

TEST_F(TruncationTest, OfTheMiddleKeepsBothEndsOfTheMaterialAndTheAnswer) {
  InstructionTokens sample = numbered(12, {2, 9}, {10, 12});
  EXPECT_EQ(cut(&sample, 8, Truncation::kMiddle), Fit::kCut);
  EXPECT_THAT(sample.ids, ElementsAre(10, 11, 12, 13, 18, 19, 20, 21));
  EXPECT_EQ(sample.answers, (std::vector<TokenRange>{{6, 8}}));
  EXPECT_EQ(sample.material, (TokenRange{2, 5}));
  InstructionTokens too_long = numbered(12, {2, 6}, {10, 12});
  EXPECT_EQ(cut(&too_long, 8, Truncation::kMiddle), Fit::kTooLong);
}

TEST_F(TruncationTest, OfTheLeftKeepsBos) {
  InstructionTokens sample = numbered(10, {2, 6}, {8, 10});
  sample.ids[0] = *tokenizer->bos_id();
  EXPECT_EQ(cut(&sample, 4, Truncation::kLeft), Fit::kCut);
  EXPECT_THAT(sample.ids, ElementsAre(*tokenizer->bos_id(), 17, 18, 19));
  EXPECT_EQ(sample.answers, (std::vector<TokenRange>{{2, 4}}));
  InstructionTokens without = numbered(10, {2, 6}, {8, 10});
  EXPECT_EQ(cut(&without, 4, Truncation::kLeft), Fit::kCut);
  EXPECT_THAT(without.ids, ElementsAre(16, 17, 18, 19));
}

TEST_F(TruncationTest, OfTheRightMayLeaveNothingToLearn) {
  InstructionTokens sample = numbered(10, {2, 6}, {7, 10});
  EXPECT_EQ(cut(&sample, 8, Truncation::kRight), Fit::kCut);
  EXPECT_EQ(sample.answers, (std::vector<TokenRange>{{7, 8}}));
  InstructionTokens lost = numbered(10, {2, 6}, {7, 10});
  EXPECT_EQ(cut(&lost, 7, Truncation::kRight), Fit::kWithoutTarget);
}

TEST_F(TruncationTest, CountsNoTargetThatNothingPrecedes) {
  InstructionTokens sample = numbered(3, {}, {0, 1});
  EXPECT_EQ(cut(&sample, 8, Truncation::kMiddle), Fit::kWithoutTarget);
}

TEST_F(TruncationTest, OfDropTakesTheWholeSample) {
  InstructionTokens sample = numbered(10, {2, 6}, {8, 10});
  EXPECT_EQ(cut(&sample, 9, Truncation::kDrop), Fit::kTooLong);
}

TEST(TruncationNames, AreFoundAgain) {
  for (const std::string& name : truncation_names())
    EXPECT_EQ(truncation_name(truncation_from_name(name)), name);
  EXPECT_THROW(truncation_from_name("center"), UsageError);
}

}  // namespace
}  // namespace longlora::data
