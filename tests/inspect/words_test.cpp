#include "longlora/inspect/words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longlora::inspect {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  ScriptCounts scripts;
  for_each_word(text, &scripts, [&](uint64_t, size_t begin, size_t end) {
    words.push_back(text.substr(begin, end - begin));
  });
  return words;
}

std::vector<uint64_t> hashes_of(const std::string& text) {
  std::vector<uint64_t> hashes;
  ScriptCounts scripts;
  for_each_word(text, &scripts, [&](uint64_t hash, size_t, size_t) { hashes.push_back(hash); });
  return hashes;
}

std::vector<std::string> scripts_of(const std::string& text) {
  ScriptCounts scripts;
  for_each_word(text, &scripts, [](uint64_t, size_t, size_t) {});
  std::vector<std::string> lines;
  for (const auto& [name, count] : scripts.named()) lines.push_back(name + " " + std::to_string(count));
  return lines;
}

TEST(Words, AreRunsOfLettersMarksAndDigits) {
  EXPECT_THAT(words_of("Don't stop — 42 times, naïve_x86\n"),
              ElementsAre("Don", "t", "stop", "42", "times", "naïve", "x86"));
  EXPECT_THAT(words_of("हिन्दी भाषा"), ElementsAre("हिन्दी", "भाषा"));  // marks belong to their letters
  EXPECT_THAT(words_of(" … !?\t"), IsEmpty());
  EXPECT_THAT(words_of(""), IsEmpty());
}

TEST(Words, OfScriptsWithoutSpacesAreSingleLetters) {
  EXPECT_THAT(words_of("日本go語"), ElementsAre("日", "本", "go", "語"));
  EXPECT_THAT(words_of("かな한국"), ElementsAre("か", "な", "한국"));  // Korean has spaces
}

TEST(Words, HaveEqualHashesWithoutTheirCase) {
  EXPECT_EQ(hashes_of("The ÄRGER МИР"), hashes_of("the ärger, мир"));
  EXPECT_NE(hashes_of("word"), hashes_of("ward"));
  EXPECT_NE(hashes_of("ab c"), hashes_of("a bc"));
}

TEST(Words, StandApartAtBytesThatAreNoUtf8) {
  EXPECT_THAT(words_of("one\xFFtwo\xE6"), ElementsAre("one", "two"));
}

TEST(Scripts, AreCountedByLetter) {
  EXPECT_THAT(scripts_of("Latin and Ελλάς, Мир: 日本 1984 …"),
              ElementsAre("Latin 8", "Greek 5", "Cyrillic 3", "Han 2"));
  EXPECT_THAT(scripts_of("123 !?"), IsEmpty());
}

}  // namespace
}  // namespace longlora::inspect
