#include "longlora/tokenizer/pipeline_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kTokenizers = kData / "tokenizers";

// Folders whose tokenizer.json is read by itself, as the tokenizers package does.
const char* const kFiles[] = {"gpt2",          "gpt2_prefix", "neox",         "llama3",
                              "qwen",          "llama2",      "joined_words", "metaspace_first",
                              "unknown_fused", "odd_rules",   "added_tokens", "no_decoder"};
// Folders that are opened as AutoTokenizer opens them.
const char* const kFolders[] = {"folder_llama",        "folder_llama_legacy", "folder_mistral",
                                "folder_old",          "folder_plain",        "folder_code_llama",
                                "folder_gpt2_class",   "folder_neox_class",   "folder_qwen_class",
                                "folder_odd_settings", "folder_split_special"};

std::unique_ptr<Tokenizer> open(const std::string& name) {
  return load_tokenizer(kTokenizers / name / "tokenizer.json");
}

// Written by scripts/references/tokenizers_pipeline.py.
void expect_golden(const Tokenizer& tokenizer, const std::string& name) {
  const Json golden = read_json(kTokenizers / name / "golden.json");
  ASSERT_GT(golden["encodings"].size(), 40u);
  for (const Json& entry : golden["encodings"]) {
    const auto ids = entry["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode(entry["text"].get<std::string>(), true), ids) << name << " " << entry["text"];
    EXPECT_EQ(tokenizer.decode(ids), entry["decoded"].get<std::string>()) << name << " " << entry["text"];
    EXPECT_EQ(tokenizer.decode_with_special_tokens(ids), entry["decoded_all"].get<std::string>())
        << name << " " << entry["text"];
  }
}

class TokenizerFile : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerFile, EqualsTheTokenizersPackage) {
  expect_golden(*open(GetParam()), GetParam());
}

TEST_P(TokenizerFile, GivesTheSameIdsWhenItHasMetTheWordsBefore) {
  const auto tokenizer = open(GetParam());
  const Json golden = read_json(kTokenizers / GetParam() / "golden.json");
  for (int round = 0; round < 2; ++round) {
    for (const Json& entry : golden["encodings"])
      EXPECT_EQ(tokenizer->encode(entry["text"].get<std::string>(), true), entry["ids"].get<Ids>());
  }
}

TEST_P(TokenizerFile, TextOfASequenceBeginsWithTheTextOfItsBeginnings) {
  const auto tokenizer = open(GetParam());
  const Ids ids = tokenizer->encode("  The 🦙 said: naïve… 日本 123\n\n  end", true);
  const std::string whole = tokenizer->decode(ids);
  for (size_t n = 0; n <= ids.size(); ++n) {
    std::string part = tokenizer->decode(Ids(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n)));
    while (part.ends_with(kReplacementCharacter)) part.resize(part.size() - kReplacementCharacter.size());
    EXPECT_EQ(whole.substr(0, part.size()), part);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, TokenizerFile, ::testing::ValuesIn(kFiles),
                         [](const auto& test) { return std::string(test.param); });

class TokenizerDirectory : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerDirectory, EqualsAutoTokenizer) {
  expect_golden(*load_tokenizer(kTokenizers / GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Goldens, TokenizerDirectory, ::testing::ValuesIn(kFolders),
                         [](const auto& test) { return std::string(test.param); });

TEST(PipelineTokenizer, PrefersTokenizerJsonToTokenizerModel) {
  const TokenizerFolder folder;
  write_file_atomic(folder / "tokenizer.json", read_file(kTokenizers / "gpt2/tokenizer.json"));
  EXPECT_EQ(load_tokenizer(folder.path())->vocab_size(), open("gpt2")->vocab_size());
}

TEST(PipelineTokenizer, StatesItsSpecialIds) {
  const auto folder = load_tokenizer(kTokenizers / "folder_plain");
  EXPECT_EQ(folder->encode("<|begin_of_text|><|eot_id|>", false),
            (Ids{*folder->bos_id(), *folder->eos_id()}));
  // Without settings: what the template puts in front, and the first known name.
  const auto file = open("llama3");
  EXPECT_EQ(file->encode("<|begin_of_text|><|end_of_text|>", false), (Ids{*file->bos_id(), *file->eos_id()}));
  const auto gpt2 = open("gpt2");
  EXPECT_EQ(gpt2->bos_id(), std::nullopt);
  EXPECT_EQ(gpt2->encode("<|endoftext|>", false), Ids{*gpt2->eos_id()});
}

TEST(PipelineTokenizer, RefusesIdsOutsideItsVocabulary) {
  const auto tokenizer = open("gpt2");
  EXPECT_THAT(test::message_of<InputError>([&] {
                tokenizer->decode({5, 600});
              }),
              HasSubstr("expected ids from 0 to 599, got 600"));
  EXPECT_THROW(tokenizer->decode({-1}), InputError);
}

TEST(PipelineTokenizer, ReadsBrokenUtf8AsPythonReplacesIt) {
  const auto tokenizer = open("llama3");
  const std::pair<std::string, std::string> cases[] = {
      {"caf\xE9 cr\xE8me\xFF", "caf\uFFFD cr\uFFFDme\uFFFD"},
      {"\xE2\x82", "\uFFFD"},
      {"\xE2\x82x\xF0\x9F\x92y", "\uFFFDx\uFFFDy"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xC0\x80\xF5\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x80\x80\xE0\x80", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},
  };
  for (const auto& each : cases) {
    EXPECT_EQ(tokenizer->encode(each.first, true), tokenizer->encode(each.second, true));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(each.first, true)), each.second);
  }
}

TEST(PipelineTokenizer, EncodesMegabytesOfOneKind) {
  const size_t size = 1 << 20;
  std::string specials;
  while (specials.size() < size / 4) specials += "<s><|endoftext|> <";
  for (const char* name : {"gpt2", "llama3", "llama2", "joined_words", "neox", "odd_rules"}) {
    const auto tokenizer = open(name);
    for (const std::string& text : {std::string(size, ' '), std::string(size, 'a'), std::string(size, '\n'),
                                    std::string(size, '\''), specials}) {
      const bool is_stripped = name == std::string("odd_rules") && (text[0] == ' ' || text[0] == '\n');
      EXPECT_EQ(tokenizer->encode(text, false).empty(), is_stripped) << name;
    }
  }
}

TEST(PipelineTokenizer, DecodesWhatItEncoded) {
  for (const char* name : {"gpt2", "llama3", "llama2", "joined_words"}) {
    const auto tokenizer = open(name);
    for (const std::string text :
         {"", "Hello", "two  spaces ", "one\ttwo\r\n\nthree", "日本語 🦙", "x\u00a0y", "a <b> [c]"})
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, true)), text) << name;
  }
}

TEST(PipelineTokenizer, GivesTheSameIdsInEveryThread) {
  const auto tokenizer = open("llama3");
  const std::string text = read_file(kData / "llama2_tokenizer/texts.txt");
  const Ids expected = tokenizer->encode(text, true);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) result = tokenizer->encode(text, true);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(PipelineTokenizer, FingerprintTellsWhatChangesIdsFromWhatDoesNot) {
  const std::string file = read_file(kTokenizers / "llama3/tokenizer.json");
  const auto fingerprint = [](const Json& json, const Json& config = Json::object()) {
    const test::TemporaryDirectory folder;
    write_json(folder / "tokenizer.json", json);
    write_json(folder / "tokenizer_config.json", config);
    return load_tokenizer(folder.path())->fingerprint();
  };
  const Json json = parse_json(file, "file");
  const std::string plain = fingerprint(json);
  EXPECT_EQ(plain.size(), 64u);
  EXPECT_EQ(fingerprint(json, Json{{"chat_template", "x"}, {"add_bos_token", false}}), plain);
  Json other = json;
  other["post_processor"] = nullptr;  // no BOS any more; EOS is the same
  EXPECT_EQ(fingerprint(other), plain);
  EXPECT_NE(fingerprint(json, Json{{"pad_token", "[PAD]"}}), plain);
  other = json;
  other["normalizer"] = Json{{"type", "NFC"}};
  EXPECT_NE(fingerprint(other), plain);
  other = json;
  other["model"]["merges"].erase(other["model"]["merges"].size() - 1);
  EXPECT_NE(fingerprint(other), plain);
}

}  // namespace
}  // namespace longlora::tokenizer
