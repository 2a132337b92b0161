#include "longlora/tokenizer/text_stream.h"

#include <gtest/gtest.h>

#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

std::string stream(const Tokenizer& tokenizer, const Ids& ids, std::vector<std::string>* pieces = nullptr) {
  TextStream text(tokenizer);
  std::string all;
  for (const int32_t id : ids) {
    const std::string piece = text.push(id);
    if (pieces != nullptr) pieces->push_back(piece);
    all += piece;
  }
  return all + text.finish();
}

TEST(TextStream, PiecesTogetherAreTheWholeText) {
  for (const char* name :
       {"gpt2", "llama3", "llama2", "joined_words", "neox", "qwen", "metaspace_first", "added_tokens"}) {
    const auto tokenizer = load_tokenizer(kData / "tokenizers" / name / "tokenizer.json");
    for (const Json& entry : read_json(kData / "tokenizers" / name / "golden.json")["encodings"]) {
      const auto ids = entry["ids"].get<Ids>();
      EXPECT_EQ(stream(*tokenizer, ids), tokenizer->decode(ids)) << name << entry["text"];
    }
  }
  const auto sentencepiece = llama2(false);
  const Ids ids = sentencepiece->encode("  The 🦙 said: naïve… 日本 </s> x", true);
  EXPECT_EQ(stream(*sentencepiece, ids), sentencepiece->decode(ids));
}

TEST(TextStream, EqualsHuggingFacesDecodeStream) {
  for (const char* name : {"gpt2", "llama3", "llama2"}) {
    const auto tokenizer = load_tokenizer(kData / "tokenizers" / name / "tokenizer.json");
    const Json golden = read_json(kData / "tokenizers" / name / "golden.json");
    for (const Json& entry : golden["streams"]) {
      std::vector<std::string> pieces;
      stream(*tokenizer, entry["ids"].get<Ids>(), &pieces);
      EXPECT_EQ(pieces, entry["pieces"].get<std::vector<std::string>>()) << name << entry["ids"];
    }
  }
}

TEST(TextStream, HoldsBackACharacterUntilItIsWhole) {
  const auto tokenizer = llama2(false);
  const int32_t first_byte = 3;  // <0x00>
  TextStream text(*tokenizer);
  EXPECT_EQ(text.push(1), "");
  EXPECT_EQ(text.push(720), "house");
  EXPECT_EQ(text.push(first_byte + 0xE2), "");
  EXPECT_EQ(text.push(first_byte + 0x82), "");
  EXPECT_EQ(text.push(first_byte + 0xAC), "€");
  EXPECT_EQ(text.push(first_byte + 0xE2), "");
  EXPECT_EQ(text.finish(), "\uFFFD");
}

}  // namespace
}  // namespace longlora::tokenizer
