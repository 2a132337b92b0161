#include "longlora/tokenizer/splitters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/tokenizer/added_tokens.h"
#include "longlora/tokenizer/normalizers.h"
#include "longlora/tokenizer/text_pattern.h"
#include "longlora/tokenizer/unicode.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> split_by_regex(const std::string& pattern, const std::string& text) {
  std::vector<std::string> words;
  TextPattern({pattern, true}, "test").for_each_match(text, [&](size_t begin, size_t end) {
    words.push_back(text.substr(begin, end - begin));
  });
  return words;
}

std::vector<std::string> split_by_scanner(WordScanner scanner, const std::string& text) {
  std::vector<std::string> words;
  for (const char* at = text.data(); at < text.data() + text.size();) {
    const char* end = scanner(at, text.data() + text.size());
    words.emplace_back(at, end);
    at = end;
  }
  return words;
}

class TextSink : public PieceSink {
 public:
  void take(Piece piece) override { texts.emplace_back(piece.text); }
  std::vector<std::string> texts;
};

std::vector<std::string> split(const PreTokenizerStep& step, const std::string& text) {
  TextSink sink;
  make_pre_tokenizer(step, "test")->split({text, true}, &sink);
  return sink.texts;
}

TEST(Scanners, CutAsTheExpressionsTheyStandFor) {
  const std::string kParts[] = {"a",      "Zoë", "é",    "日",     " ",  "  ", "\n", "\r\n", "\t", "\u00a0",
                                "\u3000", "'",   "'s",   "'RE",    "'ſ", "'l", "1",  "23",   "٣",  "½",
                                ".",      "!?",  "🦙", "\u0301", "_",  "\v", "'v", "''"};
  const size_t num_parts = std::size(kParts);
  for (const char* pattern : {kGpt2, kLlama3, kQwen}) {
    const WordScanner scanner = find_scanner(pattern);
    ASSERT_NE(scanner, nullptr);
    for (uint64_t round = 0; round < 3000; ++round) {
      std::string text;
      for (uint64_t i = 0; i <= round % 12; ++i) text += kParts[mix_bits(round, i) % num_parts];
      EXPECT_EQ(split_by_scanner(scanner, text), split_by_regex(pattern, text)) << pattern << "\n" << text;
    }
  }
  EXPECT_EQ(find_scanner("\\s+"), nullptr);
}

TEST(TextPattern, ReadsOniguramasSyntax) {
  EXPECT_THAT(split_by_regex(R"(\w+)", "aé_1½\u0301-x"), ElementsAre("aé_1½\u0301", "x"));
  EXPECT_THAT(split_by_regex(R"([\w-]+)", "a-½ b"), ElementsAre("a-½", "b"));
  EXPECT_THAT(split_by_regex(R"(\s)", "a\u180e\u00a0b"), ElementsAre("\u00a0"));
  EXPECT_THAT(split_by_regex(R"(\h+)", "xyz12 ab"), ElementsAre("12", "ab"));
  EXPECT_THAT(split_by_regex(R"(^a)", "a\na"), ElementsAre("a", "a"));
  EXPECT_THAT(split_by_regex(R"((?m).+)", "a\nb"), ElementsAre("a\nb"));
  EXPECT_THAT(split_by_regex(R"(x{,2})", "xxx"), ElementsAre("xx", "x"));
  EXPECT_THAT(split_by_regex(R"([]a]+)", "]a["), ElementsAre("]a"));
  EXPECT_THAT(split_by_regex(R"([[:alpha:]]+)", "aé1"), ElementsAre("aé"));
  EXPECT_THAT(test::message_of<InputError>([] {
                TextPattern({R"([\s&&[^\n]])", true}, "f.json");
              }),
              HasSubstr("[f.json]"));
  EXPECT_THAT(test::message_of<InputError>([] {
                TextPattern({"[a[bc]]", true}, "f.json");
              }),
              HasSubstr("a set inside a set"));
}

TEST(TextPattern, StopsAtExpressionsThatTakeForever) {
  EXPECT_THAT(test::message_of<InputError>([] { split_by_regex("(a+a+)+[bc]", std::string(60, 'a')); }),
              HasSubstr("PCRE2's limits"));
}

TEST(PreTokenizers, TreatMatchesAsToldTo) {
  PreTokenizerStep step;
  step.pattern = {"-+", true};
  const auto with = [&](SplitBehavior behavior, bool invert = false) {
    step.behavior = behavior;
    step.invert = invert;
    return split(step, "a--b-");
  };
  EXPECT_THAT(with(SplitBehavior::kIsolated), ElementsAre("a", "--", "b", "-"));
  EXPECT_THAT(with(SplitBehavior::kRemoved), ElementsAre("a", "b"));
  EXPECT_THAT(with(SplitBehavior::kRemoved, true), ElementsAre("--", "-"));
  EXPECT_THAT(with(SplitBehavior::kMergedWithPrevious), ElementsAre("a--", "b-"));
  EXPECT_THAT(with(SplitBehavior::kMergedWithNext), ElementsAre("a", "--b", "-"));
  step.pattern = {"-", false};
  EXPECT_THAT(with(SplitBehavior::kContiguous), ElementsAre("a", "--", "b", "-"));
}

TEST(Normalizers, LeaveCharactersNewerThanUnicode9Alone) {
  NormalizerStep step;  // normal form C
  const auto normalizer = make_normalizer(step, "test");
  const auto apply = [&](std::string text) {
    normalizer->apply(&text);
    return text;
  };
  EXPECT_EQ(apply("e\u0301 \u212b plain “quotes”"), "é \u00c5 plain “quotes”");
  EXPECT_EQ(apply("a\u0301\u0323"), "\u1ea1\u0301");
  EXPECT_EQ(apply("a\u08d3\u0323"), "a\u08d3\u0323");
  EXPECT_EQ(apply(""), "");
}

TEST(AddedTokens, AreFoundLeftmostAndLongest) {
  AddedTokenSplitter splitter;
  const auto add = [&](const char* content, int32_t id, auto change) {
    AddedToken token;
    token.content = content;
    token.id = id;
    change(&token);
    splitter.add(token, content);
  };
  add("<s>", 1, [](AddedToken*) {});
  add("<s>>", 2, [](AddedToken*) {});
  add("<m>", 3, [](AddedToken* token) { token->lstrip = token->rstrip = true; });
  add("<w>", 4, [](AddedToken* token) { token->single_word = true; });
  const auto parts_of = [&](const std::string& text) {
    std::vector<AddedTokenSplitter::Part> parts;
    splitter.split(text, &parts);
    std::vector<std::string> result;
    for (const auto& part : parts) {
      const std::string name = part.id < 0 ? "" : std::to_string(part.id) + ":";
      result.push_back(name + text.substr(part.begin, part.end - part.begin));
    }
    return result;
  };
  EXPECT_THAT(parts_of("a <<s>>> b"), ElementsAre("a <", "2:<s>>", "> b"));
  EXPECT_THAT(parts_of("a \u3000\n<m>\t\u00a0 b"), ElementsAre("a", "3: \u3000\n<m>\t\u00a0 ", "b"));
  EXPECT_THAT(parts_of("a<w> <w>b .<w>,"), ElementsAre("a<w> <w>b .", "4:<w>", ","));
  EXPECT_THAT(parts_of("<s"), ElementsAre("<s"));
  EXPECT_THAT(parts_of(""), ElementsAre());
}

}  // namespace
}  // namespace longlora::tokenizer
