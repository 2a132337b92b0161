// `longlora inference` as a user starts it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class InferenceVerb : public ::testing::Test {
 public:
  Words ask(const Words& more) const {
    return with({"inference", "--base_model", data("stories260K_hf"), "--prompt", "none", "--question",
                 "Once upon a time, there was a little", "--max_gen_len", "20", "--json", folder / "r.json"},
                more);
  }
  // The answer on standard output, without the line's end.
  std::string answer(const Words& more) const {
    const Ending ending = expect_exit(0, ask(more));
    const std::string written = read_json(folder / "r.json")["answer"];
    EXPECT_EQ(ending.out, written + "\n");
    return written;
  }

  TemporaryDirectory folder;
};

TEST_F(InferenceVerb, TakesTheReleasedCommand) {
  write_file_atomic(folder / "paper 1.txt", "Tom had a red ball.");
  const Ending ending =
      expect_exit(0, {"inference", "--base_model", data("stories260K_hf"), "--question", "What did Tom have?",
                      "--context_size", "512", "--max_gen_len", "8", "--flash_attn", "True", "--material",
                      folder / "paper 1.txt", "--json", folder / "r.json"});
  const Json json = read_json(folder / "r.json");
  EXPECT_EQ(json["answer_ids"].size(), 8u);
  EXPECT_EQ(json["prompt"], "llama2");
  EXPECT_EQ(ending.out, json["answer"].get<std::string>() + "\n");
  EXPECT_THAT(ending.err, HasSubstr("--max_gen_len was reached"));
}

TEST_F(InferenceVerb, WritesWhatAnswerWrites) {
  write_file_atomic(folder / "q.jsonl",
                    R"({"instruction": "Once upon a time, there was a little", "output": "x"})");
  expect_exit(0, {"answer", "--base_model", data("stories260K_hf"), "--prompt", "none", "--data_path",
                  folder / "q.jsonl", "--max_new_tokens", "20", "--json", folder / "a.json"});
  const std::string expected = read_json(folder / "a.json")["answers"][0]["answer"];
  ASSERT_GT(expected.size(), 20u);
  // The other verb trims its answers.
  EXPECT_THAT(answer({"--temperature", "0", "--dtype", "float32"}), HasSubstr(expected));
}

TEST_F(InferenceVerb, TheMaterialGoesInFrontOfTheQuestion) {
  write_file_atomic(folder / "m.txt", "Once upon a time,");
  const Words words = {"inference", "--base_model",   data("stories260K_hf"),
                       "--prompt",  "none",           "--temperature",
                       "0",         "--max_gen_len",  "12",
                       "--json",    folder / "r.json"};
  expect_exit(0, with(words, {"--material", folder / "m.txt", "--question", "there was a little"}));
  const Json apart = read_json(folder / "r.json");
  expect_exit(0, with(words, {"--question", "Once upon a time,\nthere was a little"}));
  EXPECT_EQ(read_json(folder / "r.json")["answer_ids"], apart["answer_ids"]);
}

TEST_F(InferenceVerb, TheMaterialIsTheSameWithByteOrderMarkAndCrLf) {
  const auto tokens_of = [&](const std::string& text) {
    write_file_atomic(folder / "m.txt", text);
    answer({"--material", folder / "m.txt"});
    return read_json(folder / "r.json")["prompt_tokens"].get<int>();
  };
  const int expected = tokens_of("Line one.\nLine two.\n");
  EXPECT_EQ(tokens_of("Line one.\r\nLine two.\r\n"), expected);
  EXPECT_EQ(tokens_of("\xEF\xBB\xBFLine one.\r\nLine two.\r\n"), expected);
}

TEST_F(InferenceVerb, TheSeedDecides) {
  EXPECT_EQ(answer({"--seed", "5"}), answer({"--seed", "5"}));
  EXPECT_NE(answer({"--seed", "5", "--temperature", "1.5", "--top_p", "1"}),
            answer({"--seed", "6", "--temperature", "1.5", "--top_p", "1"}));
}

TEST_F(InferenceVerb, AnswersInFourBits) {
  EXPECT_GT(answer({"--quantize", "nf4", "--temperature", "0"}).size(), 20u);
  EXPECT_EQ(read_json(folder / "r.json")["quantize"], "nf4");
}

TEST_F(InferenceVerb, StopsWhereTheContextIsFull) {
  const Ending ending = expect_exit(0, ask({"--context_size", "24", "--temperature", "0"}));
  EXPECT_THAT(ending.err, HasSubstr("the context is full"));
  EXPECT_LT(read_json(folder / "r.json")["answer_ids"].size(), 20u);
}

TEST_F(InferenceVerb, RefusesMaterialThatItCannotUse) {
  write_file_atomic(folder / "long.txt", std::string(4000, 'a'));
  EXPECT_THAT(expect_exit(3, ask({"--material", folder / "long.txt"})).err,
              AllOf(HasSubstr("long.txt"), HasSubstr("512"), HasSubstr("--context_size")));
  write_file_atomic(folder / "latin.txt", "caf\xe9");
  EXPECT_THAT(expect_exit(3, ask({"--material", folder / "latin.txt"})).err,
              AllOf(HasSubstr("UTF-8"), HasSubstr("offset 3")));
  write_file_atomic(folder / "paper.pdf", "%PDF-1.4");
  EXPECT_THAT(expect_exit(3, ask({"--material", folder / "paper.pdf"})).err,
              AllOf(HasSubstr("PDF"), HasSubstr("pdftotext")));
  write_file_atomic(folder / "empty.txt", "\xEF\xBB\xBF\r\n");
  EXPECT_THAT(expect_exit(3, ask({"--material", folder / "empty.txt"})).err, HasSubstr("an empty file"));
  EXPECT_THAT(expect_exit(3, ask({"--material", folder / "none.txt"})).err, HasSubstr("none.txt"));
  EXPECT_THAT(expect_exit(2, ask({"--top_p", "0"})).err, HasSubstr("[--top_p]"));
  EXPECT_THAT(expect_exit(2, ask({"--temperature", "-1"})).err, HasSubstr("[--temperature]"));
}

}  // namespace
}  // namespace longlora::test
