#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::cli {
namespace {

using test::Words;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::string kTokenizers = std::string(LONGLORA_SOURCE_DIR) + "/tests/data/tokenizers/";

// What the program does with these words, errors included; what it prints.
std::string run(Words words) {
  words.insert(words.begin(), "tokenize");
  testing::internal::CaptureStdout();
  try {
    test::run(words);
  } catch (...) {
    testing::internal::GetCapturedStdout();
    throw;
  }
  return testing::internal::GetCapturedStdout();
}

Words llama3(const Words& more) {
  return test::with({"--tokenizer", kTokenizers + "llama3"}, more);
}

TEST(TokenizeVerb, PrintsIdsAsHuggingFaceGivesThem) {
  const Json golden = read_json(kTokenizers + "llama3/golden.json");
  for (const Json& entry : golden["encodings"]) {
    const auto text = entry["text"].get<std::string>();
    if (text.find('\0') != std::string::npos) continue;  // no such argument
    const Json printed = parse_json(run(llama3({"--ids", "--text", text})), "output");
    EXPECT_EQ(printed, entry["ids"]) << text;
  }
}

TEST(TokenizeVerb, PrintsOneListForEachTextAndFile) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "crlf.txt", "\xEF\xBB\xBFone\r\ntwo");
  const Words inputs = {"--ids", "--text", "one", "--text", "", "--input", folder / "crlf.txt"};
  std::string out = run(llama3(inputs));
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 3);
  Words with_json = inputs;
  with_json.insert(with_json.end(), {"--json", folder / "ids.json"});
  run(llama3(with_json));
  const Json json = read_json(folder / "ids.json");
  ASSERT_EQ(json["inputs"].size(), 3u);
  EXPECT_EQ(json["inputs"][2]["input"], (folder / "crlf.txt").string());
  // A file is read as one of data is, without its byte order mark and with LF line ends.
  const std::string decoded = run(llama3({"--decode", "--text", json["inputs"][2]["ids"].dump()}));
  EXPECT_EQ(decoded, "one\ntwo\n");
}

TEST(TokenizeVerb, TakesTextsThatLookLikeFlagsAndLists) {
  for (const std::string text : {"-x", "--ids", "[a,b]", "a,b", "{}"}) {
    const std::string ids = run(llama3({"--ids", "--text", text}));
    EXPECT_EQ(run(llama3({"--decode", "--text", ids})), text + "\n");
  }
}

TEST(TokenizeVerb, DecodesWhatItPrinted) {
  const test::TemporaryDirectory folder;
  const std::string text = "naïve 日本 \n 🦙";
  write_file_atomic(folder / "text.txt", text);
  write_file_atomic(folder / "ids.txt",
                    run(llama3({"--ids", "--input", folder / "text.txt", "--json", folder / "ids.json"})));
  EXPECT_EQ(read_json(folder / "ids.json")["ids"].size(),
            read_json(folder / "ids.json")["inputs"][0]["ids"].size());
  for (const char* name : {"ids.txt", "ids.json"}) {
    run(llama3({"--decode", "--input", folder / name, "--output", folder / "back.txt", "--json",
                folder / "text.json"}));
    EXPECT_EQ(read_file(folder / "back.txt"), text);
    EXPECT_EQ(read_json(folder / "text.json")["text"], text);
    std::filesystem::remove(folder / "back.txt");  // a text cannot be known as this program's, to be replaced
  }
  EXPECT_EQ(run(llama3({"--decode", "--skip_special_tokens", "False", "--input", folder / "ids.txt"})),
            "<|begin_of_text|>" + text + "\n");
  EXPECT_EQ(run(llama3({"--ids", "--add_special_tokens", "False", "--text", ""})), "[]\n");
}

TEST(TokenizeVerb, WritesEachResultToAPlaceOfItsOwn) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "text.txt", "one two\n");
  const auto words = [&](const std::string& output) {
    return Words{"--tokenizer",  kTokenizers + "folder_plain", "--input", folder / "text.txt", "--output",
                 folder / output};
  };
  for (const char* json : {"x.bin", "x.bin.json"})
    EXPECT_THROW(run(test::with(words("x.bin"), {"--json", folder / json})), UsageError) << json;
  run(words("x.bin"));
  run(words("x.bin"));  // its own result it replaces
  write_file_atomic(folder / "mine.bin", "a film");
  EXPECT_THROW(run(words("mine.bin")), UsageError);
  write_file_atomic(folder / "x.bin", "another size, which its description does not say");
  EXPECT_THROW(run(words("x.bin")), UsageError);
  write_file_atomic(folder / "free.bin.json", "{}");
  EXPECT_THROW(run(words("free.bin")), UsageError);
  EXPECT_EQ(read_file(folder / "mine.bin"), "a film");
}

TEST(TokenizeVerb, DecodesATokenFile) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "text.txt", "one two\n");
  run({"--tokenizer", kTokenizers + "folder_plain", "--input", folder / "text.txt", "--output",
       folder / "text.bin"});
  EXPECT_EQ(run({"--tokenizer", kTokenizers + "folder_plain", "--decode", "--input", folder / "text.bin"}),
            "one two\n\n");
}

TEST(TokenizeVerb, SaysWhatIsMissingOrContradicts) {
  const auto expect = [](const Words& words, const std::string& message) {
    EXPECT_THAT([&] { run(llama3(words)); }, ThrowsMessage<UsageError>(HasSubstr(message)));
  };
  expect({}, "expected --input and --output");
  expect({"--text", "x"}, "expected --ids or --decode with --text");
  expect({"--ids"}, "expected --text or --input");
  expect({"--ids", "--decode", "--text", "x"}, "expected --ids or --decode, got both");
  expect({"--ids", "--text", "x", "--output", "x.bin"}, "expected no --output with --ids");
  EXPECT_THAT(
      [] {
        run(llama3({"--decode", "--text", "[1, x]"}));
      },
      ThrowsMessage<InputError>(HasSubstr("[--text] expected ids like \"[1, 2, 3]\" to decode, got \"x\"")));
  EXPECT_THAT(
      [] {
        run(llama3({"--ids", "--input", "/nowhere.txt"}));
      },
      ThrowsMessage<InputError>(HasSubstr("/nowhere.txt")));
}

}  // namespace
}  // namespace longlora::cli
