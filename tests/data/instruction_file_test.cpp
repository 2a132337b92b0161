#include "longlora/data/instruction_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "longlora/core/error.h"
#include "tests/support/temporary_directory.h"

namespace longlora::data {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using tokenizer::Role;

std::string problem_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

/// "user: …" for each turn.
std::vector<std::string> lines_of(const Conversation& turns) {
  std::vector<std::string> lines;
  for (const tokenizer::Turn& turn : turns) {
    const char* names[] = {"system", "user", "assistant"};
    lines.push_back(std::string(names[static_cast<int>(turn.role)]) + ": " + turn.text +
                    (turn.input.empty() ? "" : " | " + turn.input));
  }
  return lines;
}

std::vector<std::string> parse(const std::string& json) {
  return lines_of(parse_conversation(json, "here"));
}
std::string problem(const std::string& json) {
  return problem_of([&] { parse_conversation(json, "file.json, sample 3"); });
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
  EXPECT_THAT(problem(R"({"instruction": "Q", "answer": "A"})"),
              AllOf(HasSubstr("[file.json, sample 3]"), HasSubstr("expected the field \"output\""),
                    HasSubstr("got instruction, answer")));
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
  EXPECT_THAT(problem(R"({"messages": [{"role": "user"}]})"), HasSubstr("the field \"content\", got role"));
  EXPECT_THAT(problem(R"({"conversations": [{"from": "gpt", "value": "A"}]})"),
              HasSubstr("in alternation, got another order at turn 0"));
  EXPECT_THAT(
      problem(R"({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": ""}]})"),
      HasSubstr("an empty one at turn 1"));
  EXPECT_THAT(problem(R"({"instruction": "Q", "output": "A", "history": [["a"]]})"),
              HasSubstr("pairs of texts"));
}

class InstructionFiles : public ::testing::Test {
 protected:
  InstructionFile file(const std::string& text, const std::string& name = "data.json") {
    write_file_atomic(folder / name, text);
    return InstructionFile(folder / name);
  }
  std::string refusal(const std::string& text) {
    return problem_of([&] { file(text); });
  }
  test::TemporaryDirectory folder;
};

TEST_F(InstructionFiles, AreListsOrLinesByTheirContent) {
  const std::string sample = R"({"instruction": "a ] } \" , [", "output": "b"})";
  const InstructionFile list = file("\xEF\xBB\xBF [\n" + sample + " ,\n" + sample + "\n]\n");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list.place(1), (folder / "data.json").string() + ", sample 1");
  EXPECT_EQ(lines_of(list.read(1))[0], "user: a ] } \" , [");
  const InstructionFile lines = file("\n" + sample + "\r\n \n" + sample, "x.json");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines.place(1), (folder / "x.json").string() + ":4");
  EXPECT_EQ(lines_of(lines.read(0)), lines_of(list.read(0)));
}

TEST_F(InstructionFiles, KeepABrokenSampleToItself) {
  const std::string good = R"({"instruction": "Q", "output": "A"})";
  const InstructionFile list = file("[" + good + R"(, 5, {"a" 1}, "x", )" + good + "]");
  ASSERT_EQ(list.size(), 5u);
  for (const size_t broken : {1, 2, 3}) EXPECT_THROW(list.read(broken), InputError);
  EXPECT_EQ(list.read(4).size(), 2u);
  const InstructionFile lines = file(good + "\n{\n" + good + "\n");
  EXPECT_THAT(problem_of([&] { lines.read(1); }), HasSubstr("data.json:2]"));
  EXPECT_EQ(lines.read(2).size(), 2u);
}

TEST_F(InstructionFiles, MustBeWhole) {
  EXPECT_THAT(refusal(""), HasSubstr("got none"));
  EXPECT_THAT(refusal("[]"), HasSubstr("got none"));
  EXPECT_THAT(refusal("["), HasSubstr("the end of the file"));
  EXPECT_THAT(refusal(R"([{"a": "b"})"), HasSubstr("the end of the file at byte 11, behind 1 samples"));
  EXPECT_THAT(refusal(R"([{"a": "b)"), HasSubstr("the end of the file"));
  EXPECT_THAT(refusal(R"([{"a": 1} {"a": 1}])"), HasSubstr("neither a comma nor"));
  EXPECT_THAT(refusal(R"([{"a": 1},])"), HasSubstr("no element"));
  EXPECT_THAT(refusal(R"([{"a": 1}] x)"), HasSubstr("more behind its end"));
  EXPECT_THAT(refusal("\xFF\xFE["), HasSubstr("UTF-16"));
}

TEST_F(InstructionFiles, OfAFolderAreTakenByName) {
  file("[1]", "b.json");
  file("1", "a.jsonl");
  file("1", ".hidden.json");
  file("1", "notes.txt");
  EXPECT_THAT(expand_instruction_paths({folder.path()}), ElementsAre(folder / "a.jsonl", folder / "b.json"));
  EXPECT_THROW(expand_instruction_paths({folder / "nothing"}), InputError);
}

}  // namespace
}  // namespace longlora::data
