#include "longlora/tokenizer/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/tokenizer/pipeline_tokenizer.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The smallest tokenizer there is.
Json tiny() {
  return Json{{"model", Json{{"type", "BPE"},
                             {"vocab", Json{{"a", 0}, {"b", 1}, {"ab", 2}}},
                             {"merges", Json::array({"a b"})}}}};
}

Json tiny_with(const std::string& key, const Json& value) {
  Json json = tiny();
  json[key] = value;
  return json;
}

Json tiny_with_model(const std::string& key, const Json& value) {
  Json json = tiny();
  json["model"][key] = value;
  return json;
}

Ids encode(const Json& json, const std::string& text) {
  return PipelineTokenizer(parse_tokenizer_json(json.dump(), "t.json")).encode(text, true);
}

std::string message_of_text(const std::string& text) {
  return test::message_of<InputError>(
      [&] { PipelineTokenizer tokenizer(parse_tokenizer_json(text, "t.json")); });
}

std::string message(const Json& json) {
  return message_of_text(json.dump());
}

TEST(TokenizerJson, ReadsMergesAsTextsAndAsPairs) {
  EXPECT_EQ(encode(tiny(), "abba"), (Ids{2, 1, 0}));
  EXPECT_EQ(encode(tiny_with_model("merges", Json::array({Json::array({"a", "b"})})), "abba"),
            (Ids{2, 1, 0}));
  EXPECT_EQ(encode(tiny_with_model("merges", Json::array()), "abba"), (Ids{0, 1, 1, 0}));
}

TEST(TokenizerJson, IgnoresTruncationAndPadding) {
  EXPECT_EQ(encode(tiny_with("truncation", Json{{"max_length", 1}}), "abab"), (Ids{2, 2}));
}

TEST(TokenizerJson, DropsUnknownCharactersWithoutAnUnknownToken) {
  EXPECT_EQ(encode(tiny(), "axb"), Ids{2});
}

TEST(TokenizerJson, NamesAComponentThatIsNotSupported) {
  EXPECT_THAT(message(tiny_with("normalizer", Json{{"type", "BertNormalizer"}})),
              AllOf(HasSubstr("[t.json]"), HasSubstr("expected a normalizer of a supported type"),
                    HasSubstr("got \"BertNormalizer\"")));
  EXPECT_THAT(message(tiny_with("pre_tokenizer", Json{{"type", "Whitespace"}})),
              HasSubstr("got \"Whitespace\""));
  EXPECT_THAT(message(tiny_with("decoder", Json{{"type", "WordPiece"}})), HasSubstr("got \"WordPiece\""));
  EXPECT_THAT(message(tiny_with("post_processor", Json{{"type", "Odd"}})), HasSubstr("got \"Odd\""));
  EXPECT_THAT(message(tiny_with_model("type", "Unigram")), HasSubstr("got \"Unigram\""));
  EXPECT_THAT(message(tiny_with_model("dropout", 0.1)), HasSubstr("model.dropout"));
  EXPECT_THAT(message(tiny_with_model("end_of_word_suffix", "</w>")), HasSubstr("model.end_of_word_suffix"));
}

TEST(TokenizerJson, RefusesByteLevelBeforeOtherSteps) {
  const Json steps = Json::array({Json{{"type", "ByteLevel"}}, Json{{"type", "Digits"}}});
  EXPECT_THAT(message(tiny_with("pre_tokenizer", Json{{"type", "Sequence"}, {"pretokenizers", steps}})),
              HasSubstr("expected ByteLevel to be the last pre-tokenizer"));
}

TEST(TokenizerJson, NamesWhatIsMalformed) {
  EXPECT_THAT(message_of_text("{"), HasSubstr("syntax error"));
  EXPECT_THAT(message_of_text("[]"), HasSubstr("expected the file to be an object"));
  EXPECT_THAT(message_of_text("{}"), HasSubstr("expected model to be an object"));
  EXPECT_THAT(message(tiny_with_model("vocab", Json::object())), HasSubstr("expected a vocabulary"));
  EXPECT_THAT(message(tiny_with_model("vocab", Json{{"a", -1}})), HasSubstr("got -1 for \"a\""));
  EXPECT_THAT(message(tiny_with_model("vocab", Json{{"a", 1 << 24}})), HasSubstr("got 16777216"));
  EXPECT_THAT(message(tiny_with_model("vocab", Json{{"a", "x"}})), HasSubstr("model.vocab"));
  EXPECT_THAT(message(tiny_with_model("vocab", Json::array())), HasSubstr("model.vocab"));
  EXPECT_THAT(message(tiny_with_model("merges", "a b")), HasSubstr("model.merges"));
  EXPECT_THAT(message(tiny_with_model("merges", Json::array({"a b c"}))), HasSubstr("got \"a b c\""));
  EXPECT_THAT(message(tiny_with_model("merges", Json::array({Json::array({"a"})}))),
              HasSubstr("model.merges"));
  EXPECT_THAT(message(tiny_with_model("merges", Json::array({"a c"}))),
              AllOf(HasSubstr("merge 0"), HasSubstr("without \"c\"")));
  EXPECT_THAT(message(tiny_with_model("unk_token", 3)), HasSubstr("model.unk_token"));
  EXPECT_THAT(message(tiny_with("added_tokens", 3)), HasSubstr("added_tokens"));
  EXPECT_THAT(message(tiny_with("added_tokens", Json::array({Json{{"content", "x"}}}))),
              HasSubstr("added_tokens.id"));
  const Json split{
      {"type", "Split"}, {"pattern", Json{{"Regex", "(a"}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_THAT(message(tiny_with("pre_tokenizer", split)), HasSubstr("expected a regular expression"));
}

TEST(TokenizerJson, RefusesATemplateOfIdsThatAreNotThere) {
  const Json ends{{"type", "BertProcessing"}, {"cls", Json::array({"a", 0})}, {"sep", Json::array({"x", 3})}};
  EXPECT_THAT(message(tiny_with("post_processor", ends)), HasSubstr("smaller than 3, got 3"));
}

TEST(TokenizerJson, RefusesDeepNesting) {
  Json step{{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) step = Json{{"type", "Sequence"}, {"normalizers", Json::array({step})}};
  EXPECT_THAT(message(tiny_with("normalizer", step)), HasSubstr("nested at most 16 deep"));
}

TEST(TokenizerJson, SaysWhenTheUnknownTokenIsUnknown) {
  const PipelineTokenizer tokenizer(
      parse_tokenizer_json(tiny_with_model("unk_token", "<unk>").dump(), "t.json"));
  EXPECT_EQ(tokenizer.encode("ab", true), Ids{2});
  EXPECT_THAT(test::message_of<InputError>([&] { tokenizer.encode("x", true); }),
              HasSubstr("expected the unknown token"));
}

TEST(TokenizerJson, SurvivesDamagedFiles) {
  for (const char* name : {"llama2", "odd_rules", "added_tokens", "llama3"}) {
    const std::string file = read_file(kData / "tokenizers" / name / "tokenizer.json");
    for (uint64_t round = 0; round < 60; ++round) {
      std::string damaged = file;
      for (uint64_t i = 0; i < 3; ++i) {
        const uint64_t bits = mix_bits(round, i);
        const size_t place =
            bits % (round % 2 == 0 ? damaged.size() : std::min<size_t>(damaged.size(), 3000));
        damaged[place] = static_cast<char>(bits >> 57);
      }
      try {
        const PipelineTokenizer tokenizer(parse_tokenizer_json(damaged, "t.json"));
        tokenizer.decode(tokenizer.encode("Once upon a time é <mask> 12", true));
      } catch (const InputError&) {
      }
    }
  }
}

}  // namespace
}  // namespace longlora::tokenizer
