#include "longlora/data/instruction_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "longlora/core/error.h"
#include "tests/support/temporary_directory.h"

namespace longlora::data {
namespace {

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

// "user: …" for each turn.
std::vector<std::string> lines_of(const Conversation& turns) {
  std::vector<std::string> lines;
  for (const tokenizer::Turn& turn : turns) {
    const char* names[] = {"system", "user", "assistant"};
    lines.push_back(std::string(names[static_cast<int>(turn.role)]) + ": " + turn.text +
                    (turn.input.empty() ? "" : " | " + turn.input));
  }
  return lines;
}

class InstructionFiles : public ::testing::Test {
 public:
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

TEST_F(InstructionFiles, MayHoldOneObjectOverSeveralLinesOrSeveral) {
  const std::string indented = "{\n  \"instruction\": \"Q}\",\n  \"output\": \"A\"\n}";
  EXPECT_EQ(lines_of(file(indented).read(0)), (std::vector<std::string>{"user: Q}", "assistant: A"}));
  const InstructionFile two = file("\xEF\xBB\xBF\r\n" + indented + "\n\n" + indented + "\n");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two.place(1), (folder / "data.json").string() + ":7");
  const std::string compact = "{\"instruction\": \"Q\",\n\"output\": \"A\"}";
  EXPECT_EQ(file(compact + compact).size(), 2u);
  EXPECT_THAT(refusal(indented + ",\n" + indented), HasSubstr("got \",…\" in line 4"));
  EXPECT_THAT(refusal(indented + "\n{\n\"a\": 1"),
              HasSubstr("the end of the file in the one that begins in line 5"));
}

TEST_F(InstructionFiles, AreNamedForWhatTheyAreWhereTheyHoldNoJson) {
  EXPECT_THAT(refusal("Once upon a time\nthere was"),
              HasSubstr("got text that begins with \"Once upon a time…\""));
  EXPECT_THAT(refusal("<!DOCTYPE html>"), HasSubstr("<!DOCTYPE html>"));
  EXPECT_THAT(
      problem_of([&] { file("instruction,output\nQ,A\n", "x.csv"); }),
      HasSubstr("read_csv('" + (folder / "x.csv").string() + "').to_json('" + (folder / "x.jsonl").string()));
}

TEST_F(InstructionFiles, OfAFolderAreTakenByName) {
  write_file_atomic(folder / "b.json", "{}");
  write_file_atomic(folder / "a.jsonl", "{}");
  write_file_atomic(folder / ".hidden.json", "{}");
  write_file_atomic(folder / "notes.txt", "{}");
  EXPECT_THAT(expand_folders({folder.path()}, FolderContents::kSamples),
              ElementsAre(folder / "a.jsonl", folder / "b.json"));
  EXPECT_THROW(expand_folders({folder / "nothing"}, FolderContents::kSamples), InputError);
}

}  // namespace
}  // namespace longlora::data
