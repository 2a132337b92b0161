#include "longlora/inspect/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/tokenizer/tokenizer.h"
#include "tests/inspect/made_samples.h"
#include "tests/support/temporary_directory.h"

namespace longlora::inspect {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kData = LONGLORA_SOURCE_DIR "/tests/data";
const fs::path kGoldens = kData / "goldens/inspect";

class Inspections : public ::testing::Test {
 public:
  fs::path write(const std::string& name, const std::string& text) const {
    write_file_atomic(folder / name, text);
    return folder / name;
  }
  results::Inspection inspect_text(const std::string& name, const std::string& text) {
    options.inputs = {write(name, text)};
    return inspect(options);
  }
  void use_tokenizer(const std::string& name, tokenizer::PromptForm form) {
    tokenizer_ = tokenizer::load_tokenizer(kData / name);
    options.instructions.tokenizer = tokenizer_.get();
    options.instructions.prompt = form;
    options.token_data.vocab_size = tokenizer_->vocab_size();
  }

  test::TemporaryDirectory folder;
  Options options;

 private:
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
};

std::map<std::string, int64_t> counts_of(const std::vector<results::NamedCount>& counts) {
  std::map<std::string, int64_t> found;
  for (const auto& [name, count] : counts) found[name] = count;
  return found;
}

void expect_lengths(const results::LengthSummary& found, const Json& golden) {
  EXPECT_EQ(found.least, golden["min"]) << found.part;
  EXPECT_EQ(found.p5, golden["p5"]) << found.part;
  EXPECT_EQ(found.median, golden["median"]) << found.part;
  EXPECT_EQ(found.p95, golden["p95"]) << found.part;
  EXPECT_EQ(found.most, golden["max"]) << found.part;
  EXPECT_EQ(found.sum, golden["sum"]) << found.part;
  EXPECT_NEAR(found.mean, golden["mean"].get<double>(), 1e-9) << found.part;
}

TEST_F(Inspections, EqualGoldenCountsOfSamplesFieldsScriptsAndTokens) {
  const Json golden = read_json(kGoldens / "expected.json");
  use_tokenizer("tokenizers/llama2", tokenizer::PromptForm::kAlpaca);
  options.inputs = {kGoldens / "samples.jsonl"};
  options.max_lengths = {64, 128, 256};
  const results::Inspection result = inspect(options);
  const results::InspectedFile& file = result.files.at(0);
  EXPECT_EQ(file.num_samples, golden["samples"]);
  EXPECT_EQ(file.num_broken, golden["broken"]);
  using Counts = std::map<std::string, int64_t>;
  EXPECT_EQ(counts_of(file.forms), golden["forms"].get<Counts>());
  EXPECT_EQ(counts_of(file.fields), golden["fields"].get<Counts>());
  EXPECT_EQ(counts_of(file.scripts), golden["scripts"].get<Counts>());
  ASSERT_EQ(file.lengths.size(), 4u);
  for (const results::LengthSummary& part : file.lengths) expect_lengths(part, golden["lengths"][part.part]);
  ASSERT_EQ(file.fits.size(), golden["fits"].size());
  for (size_t i = 0; i < file.fits.size(); ++i) {
    const Json& fit = golden["fits"][i];
    EXPECT_EQ(file.fits[i].num_whole, fit["whole"]);
    EXPECT_EQ(file.fits[i].num_cut, fit["cut"]);
    EXPECT_EQ(file.fits[i].num_tokens_cut, fit["tokens_cut"]);
    EXPECT_EQ(file.fits[i].num_too_long, fit["too_long"]);
    EXPECT_EQ(file.fits[i].num_without_answer, fit["without_answer"]);
  }
}

TEST_F(Inspections, EqualGoldenCountsOfWordsWithoutATokenizer) {
  const Json golden = read_json(kGoldens / "expected.json");
  options.inputs = {kGoldens / "samples.jsonl"};
  const results::InspectedFile file = inspect(options).files.at(0);
  EXPECT_EQ(file.unit, "words");
  EXPECT_THAT(file.fits, IsEmpty());
  expect_lengths(file.lengths.at(0), golden["words"]);
}

TEST_F(Inspections, EqualGoldenCountsOfDuplicatesAndOverlap) {
  const Json golden = read_json(kGoldens / "expected.json");
  options.inputs = {kGoldens / "samples.jsonl"};
  options.against = {kGoldens / "held_out.jsonl"};
  options.num_threads = 3;
  const results::Inspection result = inspect(options);
  const results::Duplicates& found = result.duplicates;
  EXPECT_EQ(found.num_compared, golden["duplicates"]["compared"]);
  EXPECT_EQ(found.num_exact, golden["duplicates"]["exact"]);
  EXPECT_EQ(found.num_near, golden["duplicates"]["near"]);
  EXPECT_EQ(found.num_same_question, golden["duplicates"]["same_question"]);
  EXPECT_EQ(found.num_same_material, golden["duplicates"]["same_material"]);
  EXPECT_NEAR(found.near_pairs.at(0).similarity, golden["duplicates"]["most_similar"].get<double>(), 1e-12);
  const results::Overlap& overlap = result.overlaps.at(0);
  const Json& expected = golden["overlap"];
  EXPECT_EQ(overlap.num_samples, expected["samples"]);
  EXPECT_EQ(overlap.num_broken, expected["broken"]);
  EXPECT_EQ(overlap.num_exact, expected["exact"]);
  EXPECT_EQ(overlap.num_same_question, expected["same_question"]);
  EXPECT_EQ(overlap.num_short, expected["short"]);
  EXPECT_EQ(overlap.num_any, expected["any"]);
  EXPECT_EQ(overlap.num_fifth, expected["at_least_20_percent"]);
  EXPECT_EQ(overlap.num_half, expected["at_least_50_percent"]);
  EXPECT_EQ(overlap.num_most, expected["at_least_80_percent"]);
  ASSERT_EQ(overlap.worst.size(), expected["contained"].size());
  for (size_t i = 0; i < overlap.worst.size(); ++i)
    EXPECT_NEAR(overlap.worst[i].contained, expected["contained"][i].get<double>(), 1e-12);
}

TEST_F(Inspections, TellWhatIsWrongWithBrokenSamples) {
  const auto file =
      inspect_text(
          "data.jsonl",
          "{\"instruction\": \"Q\", \"output\": \"A\"}\n{\"instruction\": \"Q\"}\nnot json\n"
          "{\"instruction\": \"Q\", \"output\": \"\xFF\"}\n{\"instruction\": \"Q\", \"output\": \"\"}\n")
          .files.at(0);
  EXPECT_EQ(file.num_samples, 5);
  EXPECT_EQ(file.num_broken, 4);
  EXPECT_THAT(file.problems, ElementsAre(HasSubstr("data.jsonl:2"), HasSubstr("data.jsonl:3"),
                                         HasSubstr("0xFF"), HasSubstr("an empty one")));
}

TEST_F(Inspections, SurviveDeepNestingAndOneGiantLine) {
  const std::string deep(100000, '[');
  const auto nested = inspect_text("deep.jsonl", "{\"instruction\": " + deep + "\n{\"output\": 1}\n");
  EXPECT_EQ(nested.files.at(0).num_broken, nested.files.at(0).num_samples);
  EXPECT_THAT(nested.files.at(0).lengths, IsEmpty());
  const std::string line = R"({"instruction": "Q", "output": ")" + made_text(1, 300000) + "\"}";
  const auto giant = inspect_text("giant.json", line);
  EXPECT_EQ(giant.files.at(0).num_samples, 1);
  EXPECT_EQ(giant.files.at(0).lengths.at(0).most, 300001);
}

TEST_F(Inspections, RefuseEmptyFiles) {
  for (const char* name : {"empty.json", "empty.txt", "empty.bin"})
    EXPECT_THROW(inspect_text(name, ""), InputError) << name;
  EXPECT_THROW(inspect_text("blank.jsonl", "\n \n"), InputError);
  EXPECT_THROW(inspect_text("list.json", "[]"), InputError);
}

TEST_F(Inspections, ReadTextsAndDocumentsAsFineTuneDoes) {
  const auto text = inspect_text("a.txt", "[not json\r\nbut a text").files.at(0);
  EXPECT_EQ(text.content, "one text");
  EXPECT_EQ(text.lengths.at(0).sum, 5);
  const auto documents =
      inspect_text("a.jsonl", "{\"text\": \"one two\", \"url\": \"u\"}\n{\"text\": \"\"}\n{\"txt\": \"x\"}\n")
          .files.at(0);
  EXPECT_EQ(documents.content, "documents");
  EXPECT_EQ(documents.num_samples, 3);
  EXPECT_EQ(documents.num_empty, 1);
  EXPECT_EQ(documents.num_broken, 1);
  EXPECT_EQ(counts_of(documents.unread), (std::map<std::string, int64_t>{{"url", 1}}));
  EXPECT_EQ(documents.lengths.at(0).sum, 2);
}

TEST_F(Inspections, CountTokensOfDocumentsWithTheirEos) {
  use_tokenizer("tokenizers/llama2", tokenizer::PromptForm::kLlama2);
  options.max_lengths = {4};
  const auto file =
      inspect_text("a.jsonl", "{\"text\": \"the work\"}\n{\"text\": \"a licence\"}\n").files.at(0);
  const auto size = [&](const char* text) {
    return static_cast<int64_t>(options.instructions.tokenizer->encode(text, false).size()) + 1;
  };
  const int64_t total = size("the work") + size("a licence");
  EXPECT_EQ(file.lengths.at(0).sum, total);
  EXPECT_EQ(file.fits.at(0).num_rows, total / 4);
  EXPECT_EQ(file.fits.at(0).num_tokens_left, total % 4);
}

TEST_F(Inspections, CutTokenIdsIntoDocuments) {
  const std::vector<uint16_t> ids = {5, 6, 7, 2, 8, 2, 5, 6, 7, 2, 9};
  const std::string bytes(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(uint16_t));
  const auto alone = inspect_text("a.bin", bytes).files.at(0);
  EXPECT_EQ(alone.num_samples, 1);  // nobody has said what EOS is
  EXPECT_EQ(alone.lengths.at(0).sum, 11);
  use_tokenizer("tokenizers/llama2", tokenizer::PromptForm::kLlama2);
  const results::Inspection known = inspect_text("a.bin", bytes);
  EXPECT_EQ(known.files.at(0).content, "token ids");
  EXPECT_EQ(known.files.at(0).unit, "tokens");
  EXPECT_EQ(known.files.at(0).num_samples, 4);
  EXPECT_EQ(known.files.at(0).lengths.at(0).median, 2);
  EXPECT_EQ(known.duplicates.num_exact, 1);
}

TEST_F(Inspections, CompareNoIdsWithTexts) {
  options.inputs = {write("a.bin", "abababab")};
  options.against = {write("a.txt", "some text")};
  EXPECT_THROW(inspect(options), UsageError);
}

TEST_F(Inspections, FindDuplicatesAcrossFiles) {
  options.inputs = {write("a.json", R"([{"instruction": "Q", "output": "A"}])"),
                    write("b.jsonl", R"({"messages": [{"role": "user", "content": "Q"},
                      {"role": "assistant", "content": "A"}]})")};
  const results::Inspection result = inspect(options);
  EXPECT_EQ(result.duplicates.num_exact, 1);  // the same turns in another form
  EXPECT_THAT(result.duplicates.exact_pairs.at(0).first, HasSubstr("a.json, sample 0"));
  EXPECT_THAT(result.duplicates.exact_pairs.at(0).second, HasSubstr("b.jsonl:1"));
}

TEST_F(Inspections, LeaveOutLengthsOfRowsAtWhichEverythingFits) {
  use_tokenizer("tokenizers/llama2", tokenizer::PromptForm::kNone);
  const auto file = inspect_text("a.json", R"([{"instruction": "Q", "output": "A"}])").files.at(0);
  ASSERT_EQ(file.fits.size(), 1u);
  EXPECT_EQ(file.fits[0].max_tokens, 2048);
  EXPECT_EQ(file.fits[0].num_whole, 1);
}

}  // namespace
}  // namespace longlora::inspect
