// The turns of samples in the forms in which they are published.
#include "longlora/data/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"

namespace longlora::data {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using tokenizer::Role;

// "user: …" for each turn; "(read)" behind an answer that is not learned.
std::vector<std::string> lines_of(const Conversation& turns) {
  std::vector<std::string> lines;
  for (const tokenizer::Turn& turn : turns) {
    const char* names[] = {"system", "user", "assistant"};
    lines.push_back(std::string(names[static_cast<int>(turn.role)]) + ": " + turn.text +
                    (turn.input.empty() ? "" : " | " + turn.input) +
                    (turn.learn || turn.role != Role::kAssistant ? "" : " (read)"));
  }
  return lines;
}

std::vector<std::string> parse(const std::string& json) {
  return lines_of(parse_conversation(json, "here"));
}

std::vector<std::string> unread(const std::string& json) {
  std::vector<std::string> names;
  parse_conversation(json, "here", &names);
  return names;
}

std::string problem(const std::string& json) {
  try {
    parse_conversation(json, "file.json, sample 3");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Conversation, IsReadFromAlpacaSamples) {
  EXPECT_THAT(parse(R"({"instruction": "Q", "output": "A"})"), ElementsAre("user: Q", "assistant: A"));
  EXPECT_THAT(parse(R"({"instruction": "Q", "input": "I", "output": "A", "text": 5})"),
              ElementsAre("user: Q | I", "assistant: A"));
  EXPECT_THAT(parse(R"({"instruction": "Q", "input": null, "output": "A", "file": "x.pdf"})"),
              ElementsAre("user: Q", "assistant: A"));
  EXPECT_THAT(parse(R"({"input": "Q", "output": "A"})"), ElementsAre("user: Q", "assistant: A"));
  EXPECT_THAT(
      parse(R"({"system": "S", "history": [["a", "b"]], "instruction": "Q", "input": "", "output": "A"})"),
      ElementsAre("system: S", "user: a", "assistant: b", "user: Q", "assistant: A"));
}

TEST(Conversation, IsReadFromListsOfMessages) {
  EXPECT_THAT(parse(R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"},
                        {"role": "assistant", "content": "A"}, {"role": "user", "content": "left over"}]})"),
              ElementsAre("system: S", "user: Q", "assistant: A"));
  EXPECT_THAT(parse(R"({"id": "x", "conversations": [{"from": "human", "value": "Q"},
                        {"from": "gpt", "value": "A"}]})"),
              ElementsAre("user: Q", "assistant: A"));
}

TEST(Conversation, KeepsTheTextAsItIsWritten) {
  EXPECT_THAT(parse(R"({"instruction": " Q\r\n", "output": "A\u00e9\ud83d\ude42 "})"),
              ElementsAre("user:  Q\r\n", "assistant: A\xC3\xA9\xF0\x9F\x99\x82 "));
}

TEST(Conversation, NamesWhatIsWrong) {
  EXPECT_THAT(problem(R"({"instruction": "Q", "reply": "A"})"),
              AllOf(HasSubstr("[file.json, sample 3]"), HasSubstr("expected the field \"output\""),
                    HasSubstr("got instruction, reply")));
  EXPECT_THAT(problem(R"({"text": "Q", "output": "A"})"),
              HasSubstr("\"instruction\" or \"input\", got text"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": 5})"), HasSubstr("to be a text, got number"));
  EXPECT_THAT(problem(R"({"instruction": ["Q"], "output": "A"})"), HasSubstr("to be a text, got array"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": null})"), HasSubstr("got null"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": " \n"})"),
              HasSubstr("expected an answer, got an empty"));
  EXPECT_THAT(problem(R"({"instruction": " ", "output": "A"})"), HasSubstr("got an empty one"));
  EXPECT_THAT(problem(R"(["Q", "A"])"), HasSubstr("expected a JSON object, got array"));
  EXPECT_THAT(problem(R"({"instruction": "Q", )"), HasSubstr("syntax error"));
  EXPECT_THAT(problem("{\"instruction\": \"Q\", \"output\": \"A\xFF\"}"), HasSubstr("0xFF at byte 33"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": "\ud800"})"), HasSubstr("syntax error"));
}

TEST(Conversation, NamesWhatIsWrongWithItsTurns) {
  EXPECT_THAT(problem(R"({"messages": []})"), HasSubstr("no turn of the assistant"));
  EXPECT_THAT(problem(R"({"messages": "Q"})"), HasSubstr("to be a list, got string"));
  EXPECT_THAT(problem(R"({"messages": ["Q"]})"), HasSubstr("expected objects in \"messages\""));
  EXPECT_THAT(problem(R"({"messages": [{"role": "tool", "content": "Q"}]})"),
              HasSubstr("got one of \"tool\""));
  EXPECT_THAT(problem(R"({"messages": [{"role": "user"}]})"),
              HasSubstr("the field \"content\" (or \"value\"), got role"));
  EXPECT_THAT(problem(R"({"conversations": [{"from": "gpt", "value": "A"}]})"),
              HasSubstr("in alternation, got another order at turn 0"));
  EXPECT_THAT(
      problem(R"({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": ""}]})"),
      HasSubstr("an empty one at turn 1"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": "A", "history": [["a"]]})"),
              HasSubstr("pairs of texts"));
}

TEST(Conversation, IsReadUnderTheOtherNamesOfQuestionAndAnswer) {
  EXPECT_THAT(parse(R"({"instruction": "Q", "context": "C", "response": "A", "category": "x"})"),
              ElementsAre("user: Q | C", "assistant: A"));
  EXPECT_THAT(parse(R"({"system_prompt": "S", "question": "Q", "response": "A"})"),
              ElementsAre("system: S", "user: Q", "assistant: A"));
  EXPECT_THAT(parse(R"({"prompt": "Q", "completion": "A"})"), ElementsAre("user: Q", "assistant: A"));
  EXPECT_THAT(parse(R"({"query": "Q", "response": "A", "history": [["a", "b"]]})"),
              ElementsAre("user: a", "assistant: b", "user: Q", "assistant: A"));
  EXPECT_THAT(parse(R"({"instruction": "Q", "input": "", "answer": "A"})"),
              ElementsAre("user: Q", "assistant: A"));
  // The prompt of an Alpaca sample is its question with words around it.
  EXPECT_THAT(parse(R"({"instruction": "Q", "output": "A", "prompt": "Below is … Q"})"),
              ElementsAre("user: Q", "assistant: A"));
}

TEST(Conversation, OfTwoNamesForOneThingIsRefused) {
  EXPECT_THAT(
      problem(R"({"instruction": "T", "question": "Q", "output": "A"})"),
      HasSubstr("one question (take out or rename the other), got both \"instruction\" and \"question\""));
  EXPECT_THAT(problem(R"({"prompt": "T", "query": "Q", "response": "A"})"), HasSubstr("one question"));
  EXPECT_THAT(problem(R"({"question": "Q", "answer": "A", "response": "B"})"), HasSubstr("one answer"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "input": "I", "context": "C", "output": "A"})"),
              HasSubstr("both \"input\" and \"context\""));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": "A", "system": "S", "system_prompt": "T"})"),
              HasSubstr("one system prompt"));
}

TEST(Conversation, TakesTheSystemPromptThatStandsBesideTheMessages) {
  const std::string list =
      R"("conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}])";
  for (const char* name : {"system", "system_prompt", "system_message"})
    EXPECT_THAT(parse("{" + list + ", \"" + name + "\": \"S\"}"),
                ElementsAre("system: S", "user: Q", "assistant: A"));
  EXPECT_THAT(parse("{" + list + R"(, "system": "", "tools": "[]", "images": []})"),
              ElementsAre("user: Q", "assistant: A"));
  const std::string own =
      R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"},
                             {"role": "assistant", "content": "A"}], "system": )";
  EXPECT_THAT(parse(own + "\"S\"}"), ElementsAre("system: S", "user: Q", "assistant: A"));
  EXPECT_THAT(problem(own + "\"T\"}"), HasSubstr("one system prompt"));
}

TEST(Conversation, PutsTheSystemPromptBeforeTheHistoryAndTheInputToTheLastQuestion) {
  EXPECT_THAT(parse(R"({"instruction": "q2", "input": "i2", "output": "a2", "history": [["q1", "a1"]],
                        "system": "sys"})"),
              ElementsAre("system: sys", "user: q1", "assistant: a1", "user: q2 | i2", "assistant: a2"));
  EXPECT_THAT(parse(R"({"instruction": "q2", "output": "a2", "history": [{"role": "user", "content": "q1"},
                        {"role": "assistant", "content": "a1"}]})"),
              ElementsAre("user: q1", "assistant: a1", "user: q2", "assistant: a2"));
}

TEST(Conversation, KnowsRolesUnderAllTheirNames) {
  for (const char* user : {"user", "human", "prompter", "Human"})
    for (const char* assistant : {"assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model", "GPT"})
      EXPECT_THAT(parse(std::string(R"({"conversations": [{"from": ")") + user +
                        R"(", "value": "Q"}, {"from": ")" + assistant + R"(", "value": "A"}]})"),
                  ElementsAre("user: Q", "assistant: A"));
  for (const char* other : {"observation", "function_call", "function", "tool", "ipython"})
    EXPECT_THAT(problem(std::string(R"({"conversations": [{"from": ")") + other + R"(", "value": "x"}]})"),
                AllOf(HasSubstr("no place for others"), HasSubstr(other)));
}

TEST(Conversation, LearnsOnlyWhatItsFlagsSay) {
  for (const char* flag :
       {R"("weight": 0)", R"("train": false)", R"("loss": false)", R"("training": false)",
        R"("trainable": false)", R"("train_on_turn": false)", R"("do_train": false)", R"("train_on": false)",
        R"("learn": false)", R"("loss_mask": 0)", R"("loss_weight": 0.0)"})
    EXPECT_THAT(parse(std::string(R"({"messages": [{"role": "user", "content": "q1"},
                        {"role": "assistant", "content": "a1", )") +
                      flag + R"(}, {"role": "user", "content": "q2"},
                        {"role": "assistant", "content": "a2", "weight": 1, "train": true}]})"),
                ElementsAre("user: q1", "assistant: a1 (read)", "user: q2", "assistant: a2"));
  const auto with_flag = [](const std::string& flag, const char* role = "assistant") {
    return problem(std::string(R"({"messages": [{"role": ")") + role + R"(", "content": "x", )" + flag +
                   "}]}");
  };
  EXPECT_THAT(with_flag("\"weight\": 0.5"), HasSubstr("\"weight\" to be 0, 1, true or false, got 0.5"));
  EXPECT_THAT(with_flag("\"weight\": NaN"), HasSubstr("got number that is not finite"));
  EXPECT_THAT(with_flag("\"train\": \"no\""), HasSubstr("got string"));
  EXPECT_THAT(with_flag("\"weight\": 0, \"train\": true"), HasSubstr("flags to agree"));
  EXPECT_THAT(with_flag("\"train\": true", "user"), HasSubstr("answers alone to be learned"));
  EXPECT_THAT(with_flag("\"train_detail\": [1]"), HasSubstr("\"train_detail\""));
}

TEST(Conversation, LearnsNothingOfASampleWhoseFlagSaysSo) {
  EXPECT_THAT(parse(R"({"instruction": "q", "output": "a", "train": false})"),
              ElementsAre("user: q", "assistant: a (read)"));
  EXPECT_THAT(parse(R"({"instruction": "q", "output": "a", "weight": 1.0})"),
              ElementsAre("user: q", "assistant: a"));
  const std::string messages = R"({"messages": [{"role": "user", "content": "q"},
                                   {"role": "assistant", "content": "a"}], )";
  EXPECT_THAT(parse(messages + "\"loss\": false}"), ElementsAre("user: q", "assistant: a (read)"));
  EXPECT_THAT(problem(messages + "\"loss_mask\": [0, 1]}"),
              HasSubstr("a sample's \"loss_mask\" to be 0, 1, true or false, got array"));
  EXPECT_THAT(problem(messages + "\"mask\": true}"), HasSubstr("whose meaning is known"));
  EXPECT_THAT(problem(messages + "\"ignore\": 0}"), HasSubstr("got \"ignore\": 0"));
  EXPECT_THAT(parse(messages + "\"mask\": \"a text\"}"), ElementsAre("user: q", "assistant: a"));
}

TEST(Conversation, OfAPromptAndACompletionOfMessagesLearnsTheCompletion) {
  EXPECT_THAT(parse(R"({"prompt": [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"},
                        {"role": "user", "content": "q2"}], "completion": [{"role": "assistant", "content": "a2"}]})"),
              ElementsAre("user: q1", "assistant: a1 (read)", "user: q2", "assistant: a2"));
}

TEST(Conversation, JoinsPartsOfTextAndRefusesOtherParts) {
  const auto message = [](const std::string& content) {
    return R"({"messages": [{"role": "user", "content": )" + content +
           R"(}, {"role": "assistant", "content": [{"type": "text", "text": "A"}]}]})";
  };
  EXPECT_THAT(parse(message(R"([{"type": "text", "text": "Q"}, {"type": "text", "text": "R"}, "S"])")),
              ElementsAre("user: QRS", "assistant: A"));
  EXPECT_THAT(problem(message(R"([{"type": "text", "text": "Q"}, {"type": "image_url", "image_url": {}}])")),
              HasSubstr("got one of type \"image_url\""));
  EXPECT_THAT(problem(message(R"([{"type": "text", "text": "Q", "weight": 0}])")),
              HasSubstr("got a part of one with \"weight\""));
  EXPECT_THAT(problem(message(R"([{"type": "text", "text": "Q", "mask": true}])")),
              HasSubstr("got a part of one with \"mask\""));
  EXPECT_THAT(problem(message("[1]")), HasSubstr("parts to be texts, got number"));
  EXPECT_THAT(problem(message("null")), HasSubstr("message 0] expected a message's text"));
}

TEST(Conversation, RefusesWhatPromptFormsHaveNoPlaceFor) {
  const std::string list =
      R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A")";
  EXPECT_THAT(problem(list + R"(}], "tools": [{"name": "f"}]})"), HasSubstr("got the field \"tools\""));
  EXPECT_THAT(problem(list + R"(}], "images": ["a.jpg"]})"),
              HasSubstr("text alone, got the field \"images\""));
  EXPECT_THAT(problem(list + R"(, "tool_calls": [{"id": 1}]}]})"), HasSubstr("one with \"tool_calls\""));
  EXPECT_THAT(parse(list + R"(, "tool_calls": null}], "tools": []})"),
              ElementsAre("user: Q", "assistant: A"));
}

TEST(Conversation, RefusesSamplesOfPreferences) {
  EXPECT_THAT(problem(R"({"prompt": "Q", "chosen": "A", "rejected": "B"})"),
              HasSubstr("sample of preferences"));
  EXPECT_THAT(problem(R"({"chosen": "Q A", "rejected": "Q B"})"), HasSubstr("sample of preferences"));
  EXPECT_THAT(problem(R"({"conversations": [{"from": "human", "value": "q1"}, {"from": "gpt", "value": "a1"},
                          {"from": "human", "value": "q2"}], "chosen": {"from": "gpt", "value": "A"}})"),
              HasSubstr("sample of preferences"));
  EXPECT_THAT(problem(R"({"prompt": "Q", "completion": "A", "label": false})"), HasSubstr("KTO"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": "A", "kto_tag": true})"), HasSubstr("KTO"));
  // Where the answer to learn stands as well, what else there is is not read.
  EXPECT_THAT(
      unread(R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
                         "chosen": "A", "rejected": "B", "label": 3})"),
      ElementsAre("chosen", "label", "rejected"));
}

TEST(Conversation, SaysWhichFormsThereAre) {
  EXPECT_THAT(problem(R"({"text": "once"})"), AllOf(HasSubstr("\"instruction\" and \"output\""),
                                                    HasSubstr("\"messages\""), HasSubstr("fine-tune")));
  EXPECT_THAT(problem(R"({"data": [{"instruction": "Q", "output": "A"}]})"),
              HasSubstr("make that list the file"));
  EXPECT_THAT(problem(R"({"input_ids": [1], "labels": [1]})"), HasSubstr("got input_ids, labels"));
}

TEST(Conversation, NamesTheFieldsThatWereNotRead) {
  EXPECT_THAT(
      unread(R"({"id": 1, "instruction": "Q", "input": "", "output": "A", "source": "x", "note": null})"),
      ElementsAre("id", "source"));
  EXPECT_THAT(unread(R"({"messages": [{"role": "user", "content": "Q", "name": "x"},
                         {"role": "assistant", "content": "A", "name": "y", "thinking": "t"}], "instruction": "I"})"),
              ElementsAre("instruction", "messages[].name", "messages[].thinking"));
  EXPECT_THAT(unread(R"({"instruction": "Q", "output": "A", "system": "", "history": []})"), IsEmpty());
  // False says something, but where it is what is done anyway.
  EXPECT_THAT(unread(R"({"instruction": "Q", "output": "A", "checked": false, "train_on_inputs": false})"),
              ElementsAre("checked"));
  EXPECT_THAT(unread(R"({"instruction": "Q", "output": "A", "train_on_inputs": true})"),
              ElementsAre("train_on_inputs"));
  EXPECT_THAT(unread(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Q", "x": 1}]},
                        {"role": "assistant", "content": "A"}]})"),
              ElementsAre("messages[].content[].x"));
}

TEST(Conversation, IsNotHarmedByNumbersThatNobodyReads) {
  EXPECT_THAT(
      parse(R"({"instruction": "NaN", "output": "\"Infinity", "score": NaN, "a": [1e999, -Infinity, 1]})"),
      ElementsAre("user: NaN", "assistant: \"Infinity"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "input": NaN, "output": "A"})"),
              HasSubstr("\"input\" to be a text, got number that is not finite"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": 1e999})"), HasSubstr("not finite"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": "A", "x": NaNa})"), HasSubstr("syntax error"));
}

}  // namespace
}  // namespace longlora::data
