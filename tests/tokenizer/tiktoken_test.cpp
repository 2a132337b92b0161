#include "longlora/tokenizer/tiktoken.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kSmall = kData / "tokenizers/tiktoken";

std::string base64(const std::string& bytes) {
  const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * k) & 63];
  }
  return text;
}

// All bytes, then made-up tokens.
std::string file_of(size_t num_tokens) {
  std::string file;
  for (size_t rank = 0; rank < num_tokens; ++rank) {
    file += fmt::format(
        "{} {}\n", base64(rank < 256 ? std::string(1, static_cast<char>(rank)) : fmt::format("\1{}", rank)),
        rank);
  }
  return file;
}

TEST(Tiktoken, EqualsTheTiktokenPackage) {
  const auto tokenizer = load_tokenizer(kSmall);
  for (const Json& entry : read_json(kSmall / "golden.json")["encodings"]) {
    const auto ids = entry["ids"].get<Ids>();
    EXPECT_EQ(tokenizer->encode(entry["text"].get<std::string>(), true), ids) << entry["text"];
    EXPECT_EQ(tokenizer->decode(ids), entry["decoded"].get<std::string>());
  }
}

TEST(Tiktoken, KnowsTheSpecialTokensOfLlama3) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "tokenizer.model", file_of(128000));
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->vocab_size(), 128256);
  EXPECT_EQ(tokenizer->bos_id(), 128000);
  EXPECT_EQ(tokenizer->eos_id(), 128001);
  EXPECT_EQ(tokenizer->encode("a<|eot_id|><|reserved_special_token_247|>", true),
            (Ids{128000, 'a', 128009, 128255}));
  EXPECT_EQ(tokenizer->decode({128000, 'a', 128009}), "a");
  EXPECT_EQ(tokenizer->decode_with_special_tokens({128000, 'a'}), "<|begin_of_text|>a");
}

TEST(Tiktoken, TakesTheTokensThatTheFolderLists) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "tiktoken.model", file_of(300));
  const Json listed{{"300", Json{{"content", "<|end|>"}, {"special", true}}}};
  write_json(folder / "tokenizer_config.json",
             Json{{"added_tokens_decoder", listed}, {"eos_token", "<|end|>"}});
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode("a<|end|>", true), (Ids{'a', 300}));
  EXPECT_EQ(tokenizer->eos_id(), 300);
}

TEST(Tiktoken, NamesTheLineThatIsWrong) {
  const auto message = [](const std::string& content) {
    return test::message_of<InputError>([&] { parse_tiktoken_file(content, "t.model", "/nowhere"); });
  };
  EXPECT_THAT(message("IQ== 0\nIg== one\n"),
              HasSubstr("[t.model] expected a token in base64 and its rank in line 2"));
  EXPECT_THAT(message("IQ== 0\nI 1\n"), HasSubstr("line 2"));
  EXPECT_THAT(message("IQ== 0\nIg== 2\n"), HasSubstr("expected rank 1 in line 2, got 2"));
  EXPECT_THAT(message(""), HasSubstr("expected tokens in base64, got none"));
  EXPECT_FALSE(is_tiktoken_file("\n\x0e\n\x05<unk>"));
  EXPECT_FALSE(is_tiktoken_file(""));
  EXPECT_TRUE(is_tiktoken_file("IQ== 0\r\nIg== 1\r\n"));
}

}  // namespace
}  // namespace longlora::tokenizer
