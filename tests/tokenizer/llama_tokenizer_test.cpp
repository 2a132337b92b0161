#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "longlora/core/error.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Written by scripts/references/llama_tokenizer.py.
void expect_golden(const std::string& folder, const std::string& name) {
  const Json golden = read_json(kData / folder / name);
  const TokenizerFolder files(golden["files"], kData / folder / "tokenizer.model");
  const auto tokenizer = load_tokenizer(files.path());
  EXPECT_EQ(tokenizer->vocab_size(), golden["vocab_size"].get<int64_t>());
  for (const Json& entry : golden["encodings"]) {
    const auto text = entry["text"].get<std::string>();
    EXPECT_EQ(tokenizer->encode(text, true), entry["ids"].get<Ids>()) << entry["text"];
  }
}

TEST(LlamaTokenizer, EqualsHuggingFaceInLegacyMode) {
  expect_golden("novels_tokenizer", "golden_legacy.json");
}

TEST(LlamaTokenizer, EqualsHuggingFaceInNewModeWithEosAtTheEnd) {
  expect_golden("novels_tokenizer", "golden.json");
}

TEST(LlamaTokenizer, EqualsHuggingFaceWithAddedTokens) {
  expect_golden("novels_tokenizer", "golden_added.json");
}

TEST(LlamaTokenizer, EqualsHuggingFaceWithTheFilesOfOlderVersions) {
  expect_golden("novels_tokenizer", "golden_old_files.json");
}

TEST(LlamaTokenizer, EqualsHuggingFaceForAModelOf512Pieces) {
  expect_golden("stories260K_tokenizer", "golden.json");
}

TEST(LlamaTokenizer, DecodesWhatItEncoded) {
  const std::string texts[] = {
      "",        " ",        "Hello",    "  two  spaces ", "one\ttwo\r\n\nthree", "日本語 🦙",
      "é\u0301", "x\u00a0y", "a <b> [c]"};
  for (const bool legacy : {true, false}) {
    const auto tokenizer = llama2(legacy);
    for (const std::string& text : texts)
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, true)), text) << legacy;
  }
}

// As SentencePiece does where its model has remove_extra_whitespaces.
TEST(LlamaTokenizer, LeavesOutSpacesInFrontWhereTheModelTrimsText) {
  const std::filesystem::path model = kData / "stories260K_tokenizer/tokenizer.model";
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "trims.model", read_file(model) + "\x1a\x02\x20\x01");  // its last value holds
  const auto keeps = load_tokenizer(model);
  const Ids ids = keeps->encode("  Once upon", true);
  EXPECT_EQ(keeps->decode(ids), "  Once upon");
  EXPECT_EQ(load_tokenizer(folder / "trims.model")->decode(ids), "Once upon");
}

TEST(LlamaTokenizer, SkipsControlTokensWhenDecoding) {
  EXPECT_EQ(llama2(false)->decode({1, 720, 0, 880, 2}), "house world");
  EXPECT_EQ(llama2(false)->decode_with_special_tokens({1, 720, 880, 2}), "<s> house world</s>");
}

TEST(LlamaTokenizer, DecodesBytesThatAreNoCharacterAsReplacements) {
  const auto tokenizer = llama2(false);
  const int32_t first_byte = 3;  // <0x00>
  EXPECT_EQ(tokenizer->decode({first_byte + 0xE2, first_byte + 0x82}), "\uFFFD\uFFFD");
  EXPECT_EQ(tokenizer->decode({first_byte + 0xE2, first_byte + 0x82, first_byte + 0xAC}), "€");
}

TEST(LlamaTokenizer, TextOfASequenceBeginsWithTheTextOfItsBeginnings) {
  const auto tokenizer = llama2(false);
  const Ids ids = tokenizer->encode("  The 🦙 said: naïve… 日本", true);
  const std::string whole = tokenizer->decode(ids);
  for (size_t n = 0; n <= ids.size(); ++n) {
    std::string part = tokenizer->decode(Ids(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n)));
    while (part.ends_with("\uFFFD")) part.resize(part.size() - 3);
    EXPECT_EQ(whole.substr(0, part.size()), part);
  }
}

TEST(LlamaTokenizer, RefusesIdsOutsideItsVocabulary) {
  const auto tokenizer = llama2(false);
  EXPECT_THAT(test::message_of<InputError>([&] {
                tokenizer->decode({5, 8000});
              }),
              HasSubstr("expected ids from 0 to 7999, got 8000"));
  EXPECT_THROW(tokenizer->decode({-1}), InputError);
}

TEST(LlamaTokenizer, ReadsStrayBytesAsReplacementCharacters) {
  const auto tokenizer = llama2(false);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("caf\xE9 cr\xE8me\xFF", false)),
            "caf\uFFFD cr\uFFFDme\uFFFD");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(std::string_view("a\0 \0b", 5), false)),
            std::string_view("a\0 \0b", 5));
}

TEST(LlamaTokenizer, EncodesMegabytesOfText) {
  const auto tokenizer = llama2(true);
  std::string words, letters(1 << 20, 'a'), spaces(1 << 20, ' '), specials;
  while (words.size() < (1 << 20)) words += "It was the best of times, it was the worst of times;\n";
  while (specials.size() < (1 << 18)) specials += "<s><";
  for (const std::string& text : {words, letters, spaces})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false)), text);
  EXPECT_GT(tokenizer->encode(specials, false).size(), 1u << 16);
}

TEST(LlamaTokenizer, EncodesWordsInContextAsAlone) {
  // The whole text in one call against its lines one by one: newlines never join pieces.
  const auto tokenizer = llama2(false);
  const std::string line = "the same words, the same words  and   the same\n";
  const Ids once = tokenizer->encode("\n" + line, false);
  const Ids twice = tokenizer->encode("\n" + line + line, false);
  Ids expected = once;
  expected.insert(expected.end(), once.begin() + 2, once.end());  // without the prefix and the first newline
  // "the" at the start of a line has no space before it, so both lines are cut alike.
  EXPECT_EQ(twice, expected);
}

TEST(LlamaTokenizer, GivesTheSameIdsInEveryThread) {
  const auto tokenizer = llama2(false);
  const std::string text = read_file(kData / "llama2_tokenizer/texts.txt");
  const Ids expected = tokenizer->encode(text, true);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) threads.emplace_back([&] { result = tokenizer->encode(text, true); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(LlamaTokenizer, StatesItsSpecialIds) {
  const auto tokenizer = llama2(false);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  const TokenizerFolder without_bos(Json{{"tokenizer_config.json", Json{{"bos_token", nullptr}}}});
  const auto second = load_tokenizer(without_bos.path());
  EXPECT_EQ(second->bos_id(), std::nullopt);
  EXPECT_THAT(second->encode("house", true), ElementsAre(720));
}

TEST(LlamaTokenizer, FingerprintTellsWhatChangesIdsFromWhatDoesNot) {
  const auto fingerprint = [](const Json& config) {
    return load_tokenizer(TokenizerFolder(Json{{"tokenizer_config.json", config}}).path())->fingerprint();
  };
  const std::string plain = fingerprint(Json::object());
  EXPECT_EQ(plain.size(), 64u);
  EXPECT_EQ(fingerprint(Json{{"chat_template", "x"}, {"add_bos_token", false}}), plain);
  EXPECT_NE(fingerprint(Json{{"legacy", false}}), plain);
  EXPECT_NE(fingerprint(Json{{"pad_token", "[PAD]"}}), plain);
  EXPECT_NE(load_tokenizer(kData / "stories260K_tokenizer")->fingerprint(), plain);
  EXPECT_EQ(load_tokenizer(kData / "novels_tokenizer")->fingerprint(),
            load_tokenizer(kData / "novels_tokenizer/tokenizer.model")->fingerprint());
}

}  // namespace
}  // namespace longlora::tokenizer
