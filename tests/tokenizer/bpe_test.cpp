#include "longlora/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include "longlora/core/random.h"
#include "longlora/tokenizer/tokenizer_json.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

// The definition, word for word: merge the pair of lowest rank, the leftmost of equals, until none is left.
Ids merge_plainly(const BpeSpec& spec, std::vector<std::string> symbols) {
  std::unordered_map<std::string, size_t> ranks;
  for (size_t i = 0; i < spec.merges.size(); ++i)
    ranks[spec.merges[i].first + "\n" + spec.merges[i].second] = i;
  while (true) {
    size_t best_rank = spec.merges.size(), best = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find(symbols[i] + "\n" + symbols[i + 1]);
      if (found != ranks.end() && found->second < best_rank) {
        best_rank = found->second;
        best = i;
      }
    }
    if (best_rank == spec.merges.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols) {
    for (const auto& entry : spec.vocab)
      if (entry.first == symbol) ids.push_back(entry.second);
  }
  return ids;
}

TEST(Bpe, MergesShortAndLongWordsAsDefined) {
  PipelineSpec spec = parse_tokenizer_json(read_file(kData / "tokenizers/gpt2/tokenizer.json"), "gpt2");
  const Bpe bpe(spec.model, BpeAlphabet::kCharacters, "gpt2");
  BpeScratch scratch;
  // Letters that merge a lot; lengths on both sides of where the heap takes over.
  const std::string letters = "etaonihe t";
  for (uint64_t round = 0; round < 200; ++round) {
    std::vector<std::string> symbols;
    std::string word;
    for (uint64_t i = 0; i < 1 + round % 90; ++i) {
      const char letter = letters[mix_bits(round, i) % letters.size()];
      symbols.emplace_back(letter == ' ' ? "\u0120" : std::string(1, letter));
      word += symbols.back();
    }
    Ids ids;
    bpe.encode(word, &scratch, &ids);
    EXPECT_EQ(ids, merge_plainly(spec.model, symbols)) << word;
  }
}

TEST(Bpe, SpellsBytesAsCharacters) {
  std::string bytes;
  ASSERT_TRUE(bytes_of_token("Ġaé", &bytes));
  EXPECT_EQ(bytes, " a\xE9");
  EXPECT_FALSE(bytes_of_token("a b", &bytes));
  EXPECT_FALSE(bytes_of_token("日", &bytes));
  EXPECT_EQ(character_of_byte('\n'), U'Ċ');
  EXPECT_EQ(character_of_byte(0xAD), U'\u0143');
}

TEST(WordCache, KeepsTheNewestOfWordsAtOnePlace) {
  WordCache cache;
  std::vector<std::string> words;
  for (int i = 0; i < 200000; ++i) words.push_back("word" + std::to_string(i));
  for (size_t i = 0; i < words.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    cache.put(words[i], &id, 1);
    ASSERT_NE(cache.find(words[i]), nullptr);
    EXPECT_EQ(cache.find(words[i])->ids[0], id);
  }
  size_t num_found = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    const WordCache::Entry* entry = cache.find(words[i]);
    if (entry == nullptr) continue;
    ++num_found;
    EXPECT_EQ(entry->ids[0], static_cast<int32_t>(i));
  }
  EXPECT_GT(num_found, 20000u);
}

}  // namespace
}  // namespace longlora::tokenizer
