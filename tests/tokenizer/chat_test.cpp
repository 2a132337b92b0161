#include "longlora/tokenizer/chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/tokenizer/text_stream.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

TEST(Ask, PutsMaterialBeforeTheQuestion) {
  const Conversation asked = ask(PromptForm::kLlama2, "Who?", "A book.");
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].role, Role::kUser);
  EXPECT_EQ(asked[0].text, "A book.\nWho?");
  EXPECT_EQ(asked[0].input, "");
  EXPECT_EQ(ask(PromptForm::kLlama2, "Who?")[0].text, "Who?");
}

TEST(Ask, GivesAlpacasMaterialItsOwnPlace) {
  const Conversation asked = ask(PromptForm::kAlpaca, "Who?", "A book.");
  EXPECT_EQ(asked[0].text, "Who?");
  EXPECT_EQ(asked[0].input, "A book.");
}

TEST(TokenizeQuestion, IsTheSameWithAndWithoutTheKnownAnswer) {
  const auto tokenizer = llama2(false);
  for (const PromptForm form :
       {PromptForm::kLlama2, PromptForm::kAlpaca, PromptForm::kChatml, PromptForm::kNone}) {
    SCOPED_TRACE(prompt_form_name(form));
    const Conversation asked = ask(form, "Who lives in the house?", "A dog lives there.");
    Conversation answered = asked;
    answered.push_back({Role::kAssistant, "A dog."});
    const std::vector<int64_t> ids = tokenize_question(*tokenizer, form, asked);
    EXPECT_EQ(ids, tokenize_question(*tokenizer, form, answered));
    EXPECT_EQ(ids.front(), *tokenizer->bos_id());
    const std::string text = decode_written(*tokenizer, ids);
    EXPECT_THAT(text, testing::HasSubstr("Who lives in the house?"));
    EXPECT_THAT(text, testing::Not(testing::HasSubstr("A dog.")));
  }
}

TEST(DecodeWritten, LeavesOutIdsThatTheTokenizerHasNoTextFor) {
  const auto tokenizer = llama2(false);
  const std::vector<int64_t> ids = encode_for_model(*tokenizer, "the house", false);
  std::vector<int64_t> more = ids;
  more.push_back(tokenizer->vocab_size());
  more.push_back(int64_t{1} << 40);
  EXPECT_EQ(decode_written(*tokenizer, more), "the house");
  EXPECT_TRUE(has_text(*tokenizer, tokenizer->vocab_size() - 1));
  EXPECT_FALSE(has_text(*tokenizer, tokenizer->vocab_size()));
  EXPECT_FALSE(has_text(*tokenizer, -1));
  TextStream stream(*tokenizer);
  std::string text;
  for (const int64_t id : more) text += stream.push(id);
  EXPECT_EQ(text + stream.finish(), "the house");
}

TEST(BeginsWithBos, FollowsTheTokenizersSettings) {
  EXPECT_TRUE(begins_with_bos(*llama2(false)));
  const TokenizerFolder folder(Json{{"tokenizer_config.json", {{"add_bos_token", false}}}});
  EXPECT_FALSE(begins_with_bos(*load_tokenizer(folder.path())));
}

}  // namespace
}  // namespace longlora::tokenizer
