#include "longlora/tokenizer/prompt_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"

namespace longlora::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> texts(const std::string& text, const std::vector<TextRange>& ranges) {
  std::vector<std::string> found;
  for (const TextRange& range : ranges) found.push_back(text.substr(range.begin, range.size()));
  return found;
}

PromptPiece only_piece(PromptForm form, const std::vector<Turn>& turns) {
  const auto pieces = render_prompt(form, turns, "</s>");
  EXPECT_EQ(pieces.size(), 1u);
  return pieces.at(0);
}

const std::vector<Turn> kPlain = {{Role::kUser, "Why?"}, {Role::kAssistant, "So."}};
const std::vector<Turn> kWithInput = {{Role::kUser, "Sum up.", "A book."}, {Role::kAssistant, "Short."}};
const std::vector<Turn> kDialogue = {{Role::kSystem, "Be kind."},
                                     {Role::kUser, "One?"},
                                     {Role::kAssistant, "1"},
                                     {Role::kUser, "Two?"},
                                     {Role::kAssistant, "2"}};

TEST(PromptForm, OfLongAlpacaPutsTheInstructionBetweenMarks) {
  const PromptPiece piece = only_piece(PromptForm::kLlama2, kPlain);
  EXPECT_EQ(piece.text, "[INST]Why?[/INST]So.");
  EXPECT_THAT(texts(piece.text, piece.answers), ElementsAre("So."));
  EXPECT_THAT(texts(piece.text, piece.material), ElementsAre("Why?"));
  EXPECT_TRUE(piece.bos);
  EXPECT_TRUE(piece.eos);
}

TEST(PromptForm, OfLlama2HasItsSystemPromptWhereThereIsAnInput) {
  const PromptPiece piece = only_piece(PromptForm::kLlama2, kWithInput);
  EXPECT_TRUE(piece.text.starts_with("[INST] <<SYS>>\nYou are a helpful, respectful and honest assistant. "));
  EXPECT_TRUE(piece.text.ends_with("false information.\n<</SYS>> \n\n Sum up. \nA book. [/INST]Short."));
  EXPECT_THAT(piece.text, HasSubstr("while being safe.  Your answers"));  // two spaces, as Meta wrote it
  EXPECT_THAT(texts(piece.text, piece.answers), ElementsAre("Short."));
  EXPECT_THAT(texts(piece.text, piece.material), ElementsAre("A book."));
}

TEST(PromptForm, OfAlpacaNamesInstructionInputAndResponse) {
  const PromptPiece plain = only_piece(PromptForm::kAlpaca, kPlain);
  EXPECT_EQ(
      plain.text,
      "Below is an instruction that describes a task. Write a response that appropriately completes the "
      "request.\n\n### Instruction:\nWhy?\n\n### Response:So.");
  const PromptPiece input = only_piece(PromptForm::kAlpaca, kWithInput);
  EXPECT_EQ(
      input.text,
      "Below is an instruction that describes a task, paired with an input that provides further context. "
      "Write a response that appropriately completes the request.\n\n### Instruction:\nSum up.\n\n### "
      "Input:\nA book.\n\n### Response:Short.");
  EXPECT_THAT(texts(input.text, input.material), ElementsAre("A book."));
}

TEST(PromptForm, OfChatmlIsOneTextThatMarksEveryTurn) {
  const PromptPiece piece = only_piece(PromptForm::kChatml, kDialogue);
  EXPECT_EQ(
      piece.text,
      "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>");
  EXPECT_THAT(texts(piece.text, piece.answers), ElementsAre("1<|im_end|>", "2<|im_end|>"));
  EXPECT_THAT(texts(piece.text, piece.material), ElementsAre("One?", "Two?"));
  EXPECT_TRUE(piece.eos);
  EXPECT_FALSE(render_prompt(PromptForm::kChatml, kDialogue, "<|im_end|>")[0].eos);
}

TEST(PromptForm, OfLlama2HasOneSystemPromptAtTheBeginning) {
  const auto pieces = render_prompt(PromptForm::kLlama2,
                                    {{Role::kSystem, "sys"},
                                     {Role::kUser, "q1"},
                                     {Role::kAssistant, "a1"},
                                     {Role::kUser, "q2", "i2"},
                                     {Role::kAssistant, "a2"}},
                                    "</s>");
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].text, "[INST] <<SYS>>\nsys\n<</SYS>> \n\n q1 [/INST]a1");
  EXPECT_EQ(pieces[1].text, "[INST] q2\ni2 [/INST]a2");
  EXPECT_THAT(texts(pieces[1].text, pieces[1].material), ElementsAre("i2"));
}

TEST(PromptForm, DoesNotMarkAnAnswerThatIsThereToBeRead) {
  for (const std::string& name : prompt_form_names()) {
    std::vector<Turn> turns = kDialogue;
    turns[4].learn = false;
    const auto pieces = render_prompt(prompt_form_from_name(name), turns, "</s>");
    size_t num_answers = 0;
    for (const PromptPiece& piece : pieces) num_answers += piece.answers.size();
    EXPECT_EQ(num_answers, 1u) << name;
    EXPECT_FALSE(pieces.back().eos_is_learned) << name;
  }
}

TEST(PromptForm, OfLlama2BeginsEveryExchangeAnew) {
  const auto pieces = render_prompt(PromptForm::kLlama2, kDialogue, "</s>");
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].text, "[INST] <<SYS>>\nBe kind.\n<</SYS>> \n\n One? [/INST]1");
  EXPECT_EQ(pieces[1].text, "[INST]Two?[/INST]2");
  for (const PromptPiece& piece : pieces) EXPECT_TRUE(piece.bos && piece.eos);
}

TEST(PromptForm, OfAlpacaGoesOnWithoutThePreamble) {
  const auto pieces = render_prompt(PromptForm::kAlpaca, kDialogue, "</s>");
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].text, "Be kind.\n\n### Instruction:\nOne?\n\n### Response:1");
  EXPECT_EQ(pieces[1].text, "\n\n### Instruction:\nTwo?\n\n### Response:2");
  EXPECT_FALSE(pieces[1].bos);
  EXPECT_TRUE(pieces[0].eos);
}

TEST(PromptForm, NoneAddsNothing) {
  EXPECT_EQ(only_piece(PromptForm::kNone, kPlain).text, "Why?So.");
  EXPECT_EQ(only_piece(PromptForm::kNone, kWithInput).text, "Sum up.\nA book.Short.");
}

TEST(PromptForm, RefusesTurnsInAnotherOrder) {
  EXPECT_THROW(render_prompt(PromptForm::kNone, {}, ""), Error);
  EXPECT_THROW(render_prompt(PromptForm::kNone, {{Role::kUser, "a"}}, ""), Error);
  EXPECT_THROW(render_prompt(PromptForm::kNone, {{Role::kAssistant, "a"}, {Role::kUser, "b"}}, ""), Error);
}

TEST(PromptForm, IsFoundByItsName) {
  for (const std::string& name : prompt_form_names())
    EXPECT_EQ(prompt_form_name(prompt_form_from_name(name)), name);
  EXPECT_THROW(prompt_form_from_name("llama3"), UsageError);
}

}  // namespace
}  // namespace longlora::tokenizer
