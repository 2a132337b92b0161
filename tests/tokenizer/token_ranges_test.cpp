#include "longlora/tokenizer/token_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

const char* const kTexts[] = {"The Licensor grants You a licence.",
                              " two  spaces   and\n\nlines\t.",
                              "Straße, naïve, né à Zürich",
                              "日本語 🙂 emoji",
                              "",
                              " ",
                              "a"};

std::vector<std::unique_ptr<Tokenizer>> lossless_tokenizers() {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const char* name : {"gpt2", "llama2", "llama3", "neox"})
    tokenizers.push_back(load_tokenizer(kData / "tokenizers" / name));
  for (const bool legacy : {false, true}) tokenizers.push_back(llama2(legacy));
  return tokenizers;
}

// The ranges follow each other through the whole text.
void expect_cover(const Tokenizer& tokenizer, const std::string& text) {
  SCOPED_TRACE(text);
  const Ids ids = tokenizer.encode(text, false);
  const auto ranges = find_token_ranges(tokenizer, text, ids);
  ASSERT_TRUE(ranges);
  ASSERT_EQ(ranges->size(), ids.size());
  size_t at = 0;
  for (const TextRange& range : *ranges) {
    EXPECT_EQ(range.begin, at);
    at = range.end;
  }
  EXPECT_EQ(at, text.size());
}

TEST(TokenRanges, CoverTheTextOfEveryKindOfTokenizer) {
  size_t index = 0;
  for (const auto& tokenizer : lossless_tokenizers()) {
    SCOPED_TRACE(index++);
    for (const char* text : kTexts) expect_cover(*tokenizer, text);
  }
}

TEST(TokenRanges, GiveControlTokensTheirSpelling) {
  for (const bool legacy : {false, true}) {
    SCOPED_TRACE(legacy);
    const auto tokenizer = llama2(legacy);
    const std::string text = "one</s> two</s>three";
    expect_cover(*tokenizer, text);
    const Ids ids = tokenizer->encode(text, false);
    const auto ranges = find_token_ranges(*tokenizer, text, ids);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] != *tokenizer->eos_id()) continue;
      EXPECT_EQ(text.substr((*ranges)[i].begin, (*ranges)[i].size()), "</s>");
    }
  }
}

TEST(TokenRanges, KnowTheBytesOfACharacterInPieces) {
  const auto tokenizer = llama2(false);
  const std::string text = "x🙂y";
  const auto ranges = find_token_ranges(*tokenizer, text, tokenizer->encode(text, false));
  ASSERT_TRUE(ranges);
  EXPECT_EQ(ranges->back().begin, 5u);  // the four bytes of the emoji come one by one before it
  EXPECT_GE(ranges->size(), 6u);
}

TEST(TokenRanges, AreNotGivenForIdsOfAnotherText) {
  const auto tokenizer = llama2(false);
  const Ids ids = tokenizer->encode("one two", false);
  EXPECT_FALSE(find_token_ranges(*tokenizer, "one too", ids));
  EXPECT_FALSE(find_token_ranges(*tokenizer, "one two three", ids));
  EXPECT_FALSE(find_token_ranges(*tokenizer, "one", ids));
  EXPECT_FALSE(find_token_ranges(*tokenizer, "onetwo", ids));  // one space is the tokenizer's, not two
}

TEST(TokenRanges, AreNotGivenWhereTheTokenizerChangesTheText) {
  const auto tokenizer = load_tokenizer(kData / "tokenizers/qwen");  // composes characters (NFC)
  const std::string decomposed = "cafe\xCC\x81";
  const Ids ids = tokenizer->encode(decomposed, false);
  ASSERT_EQ(ids, tokenizer->encode("caf\xC3\xA9", false));
  EXPECT_FALSE(find_token_ranges(*tokenizer, decomposed, ids));
  EXPECT_TRUE(find_token_ranges(*tokenizer, "caf\xC3\xA9", ids));
}

}  // namespace
}  // namespace longlora::tokenizer
