#include "longlora/report/report.h"

#include <cmath>

#include "longlora/core/format.h"
#include "longlora/report/html.h"
#include "longlora/report/inspection.h"
#include "longlora/report/text.h"
#include "tests/report/inputs.h"

namespace longlora::report {
namespace {

using namespace test;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class Report : public ::testing::Test {
 protected:
  void SetUp() override {
    write_sample(folder_, "run/train_log.jsonl", kTrainLog);
    write_sample(
        folder_, "run/run.json",
        R"({"label":"after <1>","version":"0.1.0","options":{"rope":{"factor":8},"note":"<script>x</script>"}})");
    options_.inputs = {{write_sample(folder_, "a.json", kEvalBefore), ""},
                       {write_sample(folder_, "b.json", kEvalAfter), ""},
                       {write_sample(folder_, "c.json", kPasskeyBefore), ""},
                       {write_sample(folder_, "d.json", kPasskeyAfter), ""},
                       {folder_.path() / "run", ""}};
    options_.output = folder_.path() / "out" / "page.html";
    options_.results_json = folder_.path() / "out" / "results.json";
    options_.title = "A & B";
    options_.commands = {"./quickstart.sh"};
    options_.version = "1.2.3";
  }

  test::TemporaryDirectory folder_;
  ReportOptions options_;
};

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

TEST_F(Report, HoldsValuesAndPicturesInOneFile) {
  const ReportResult result = write_report(options_);
  const std::string html = read_file(result.html);
  ASSERT_EQ(result.pictures.size(), 5u);  // perplexity, its close-up, map, bars, loss
  EXPECT_EQ(count_of(html, "src=\"data:image/png;base64,"), result.pictures.size());
  for (const auto& picture : result.pictures)
    EXPECT_NE(html.find(encode_base64(read_file(picture))), std::string::npos) << picture;
  EXPECT_THAT(html, AllOf(HasSubstr("<title>A &amp; B</title>"), HasSubstr("<strong>36.40</strong>"),
                          HasSubstr("1,500"), HasSubstr("after &lt;1&gt;"),
                          HasSubstr("<strong>50.0 %</strong>"), HasSubstr("12,288")));
  EXPECT_THAT(html,
              AllOf(HasSubstr("How this was made"), HasSubstr("./quickstart.sh\nlonglora eval --seq_len 512"),
                    HasSubstr("longlora 1.2.3"), HasSubstr("options.rope.factor")));
}

TEST_F(Report, NeedsNothingElseAndRunsNothing) {
  const std::string html = read_file(write_report(options_).html);
  EXPECT_THAT(html, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("http:")), Not(HasSubstr("https:")),
                          Not(HasSubstr("<link")), Not(HasSubstr("after <1>"))));
}

TEST_F(Report, ComputesItsSentencesFromTheData) {
  const ReportResult result = write_report(options_);
  EXPECT_THAT(
      result.summary,
      ElementsAre(
          "At 4,096 tokens of context “after <1>” has the lowest perplexity, 36.40: 41.2 times lower than "
          "“before” (1,500).",
          "For “after <1>” more context never hurts: its perplexity goes from 40.50 at 512 to 36.40 at 4,096 "
          "tokens.",
          "At 512 tokens, the shortest context, “after <1>” has 40.50 and “before” 40.00 (1.2 % higher).",
          "“after <1>” finds 75.0 % of 4 pass keys in texts of up to 4,002 tokens, at least 50.0 % at every "
          "length (the lowest at 4,002 tokens); “before” finds 50.0 %.",
          "“after <1>” was trained for 3 steps on 12,288 tokens in 12.0s (1,024 tokens/s); its loss went "
          "from "
          "4.000 to 3.000."));
}

TEST_F(Report, MarksTheBestOfEachLengthAlone) {
  const ReportResult result = write_report(options_);
  const Table& perplexity = result.tables.at(0).table;
  EXPECT_TRUE(perplexity.rows[0][1].is_best);
  EXPECT_FALSE(perplexity.rows[0][2].is_best);
  EXPECT_FALSE(perplexity.rows[1][1].is_best);
  EXPECT_TRUE(perplexity.rows[1][2].is_best);
  const Table& passkey = result.tables.at(2).table;
  EXPECT_FALSE(passkey.rows[0][1].is_best) << "both found all";
  EXPECT_TRUE(passkey.rows[1][2].is_best);
}

TEST_F(Report, CollectsAllInputsInOneJsonFile) {
  write_report(options_);
  const Json json = read_json(options_.results_json);
  ASSERT_EQ(json["models"].size(), 2u);
  EXPECT_EQ(json["models"][0]["label"], "before");
  EXPECT_EQ(json["models"][0]["eval"][0]["results"][1]["val_perplexity"], 1500.0);
  EXPECT_EQ(json["models"][1]["passkey"][0]["results"][1]["accuracy"], 0.5);
  EXPECT_EQ(json["models"][1]["training"][0]["steps"][2]["loss"], 3.0);
  EXPECT_EQ(json["models"][1]["training"][0]["run"]["options"]["rope"]["factor"], 8);
  EXPECT_EQ(json["summary"].size(), 5u);
}

TEST_F(Report, WritesNothingWhenAnInputIsBad) {
  options_.inputs.push_back({write_sample(folder_, "bad.json", "{}"), ""});
  EXPECT_THROW(write_report(options_), InputError);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out"));
}

TEST_F(Report, NeedsNoJsonFile) {
  options_.results_json.clear();
  const ReportResult result = write_report(options_);
  EXPECT_TRUE(std::filesystem::exists(result.html));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out" / "results.json"));
}

TEST_F(Report, LeavesOnlyThePicturesOutWhenGnuplotIsMissing) {
  const std::vector<NamedTable> tables = write_report(options_).tables;
  options_.output = folder_.path() / "out" / "without.html";
  options_.gnuplot = "/nowhere/gnuplot";
  const ReportResult result = write_report(options_);
  EXPECT_THAT(result.pictures, ::testing::IsEmpty());
  EXPECT_EQ(result.tables.size(), tables.size());
  ASSERT_FALSE(result.notes.empty());
  EXPECT_THAT(result.notes.back(),
              AllOf(HasSubstr("pictures are left out"), HasSubstr("apt-get install gnuplot-nox")));
  const std::string page = read_file(result.html);
  EXPECT_THAT(page, AllOf(HasSubstr("pictures are left out"), HasSubstr("no gnuplot"),
                          Not(HasSubstr("data:image/png"))));
}

TEST_F(Report, WritesNothingWithAProgramThatIsNotGnuplot) {
  options_.gnuplot = "true";
  EXPECT_THAT(test::message_of<Error>([&] { write_report(options_); }), HasSubstr("gnuplot-nox"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out"));
}

TEST_F(Report, RefusesToOverwriteAnInputAndOnePathForTwoFiles) {
  const auto refusal = [&] { return test::message_of<UsageError>([&] { prepare_report(options_); }); };
  options_.output = options_.inputs[0].path;
  EXPECT_THAT(refusal(), HasSubstr("is --input"));
  options_.results_json = options_.output;
  EXPECT_THAT(refusal(), HasSubstr("expected a place of its own"));
  EXPECT_EQ(read_file(options_.inputs[0].path), kEvalBefore);
}

TEST_F(Report, ReplacesItsOwnPageAndPicturesAndNoOthers) {
  const ReportResult first = write_report(options_);
  EXPECT_NO_THROW(write_report(options_));
  ASSERT_FALSE(first.pictures.empty());
  write_file_atomic(first.pictures[0], "a photograph");
  EXPECT_THAT(test::message_of<UsageError>([&] { write_report(options_); }),
              HasSubstr(first.pictures[0].filename().string()));
  EXPECT_EQ(read_file(first.pictures[0]), "a photograph");
  std::filesystem::remove(first.pictures[0]);
  write_file_atomic(first.html, "<!DOCTYPE html>\n<p>my page");
  EXPECT_THAT(test::message_of<UsageError>([&] { prepare_report(options_); }), HasSubstr("page.html"));
}

TEST_F(Report, NamesTheOutputThatCannotBeWritten) {
  options_.output = folder_.path() / "a.json" / "page.html";
  EXPECT_THROW(write_report(options_), ResourceError);
}

TEST_F(Report, ShowsWhatThereIsOfASingleKindOfInput) {
  options_.inputs = {{folder_.path() / "c.json", ""}};
  const ReportResult result = write_report(options_);
  EXPECT_EQ(result.pictures.size(), 2u);
  EXPECT_EQ(result.tables.size(), 1u);
  EXPECT_THAT(read_file(result.html),
              AllOf(HasSubstr("Pass key retrieval"), Not(HasSubstr("<h2>Perplexity"))));
}

TEST_F(Report, HasTablesOfAnswersAndOfScoresOfTheSameText) {
  std::string other = kScore;
  other.replace(other.find("[1,403,407]"), 11, "[1,403]");
  options_.inputs = {{write_sample(folder_, "before.json", kAnswersBefore), ""},
                     {write_sample(folder_, "after.json", kAnswersAfter), ""},
                     {write_sample(folder_, "score.json", kScore), ""},
                     {write_sample(folder_, "again.json", kScore), "again"},
                     {write_sample(folder_, "other.json", other), "other"}};
  const ReportResult result = write_report(options_);
  ASSERT_EQ(result.tables.size(), 3u);
  const Table& answers = result.tables[0].table;
  EXPECT_EQ(answers.columns.at(1).heading, "copy");
  EXPECT_EQ(answers.columns.at(3).heading, "all");
  EXPECT_EQ(answers.rows.at(1).at(3).text, "90.0 % of 30");
  EXPECT_TRUE(answers.rows[1][3].is_best);
  EXPECT_FALSE(answers.rows[0][3].is_best);
  EXPECT_EQ(result.tables[1].name, "Scores of a text of 3 tokens, text 1");
  const Table& scores = result.tables[1].table;
  ASSERT_EQ(scores.rows.size(), 2u);
  EXPECT_EQ(scores.rows[0][0].text, "tuned");
  EXPECT_EQ(scores.rows[1][1].text, "-3.0000");
  EXPECT_EQ(scores.rows[1][3].text, "4.48");  // e^1.5
  EXPECT_EQ(result.tables[2].table.rows.size(), 1u);
  EXPECT_THAT(result.summary,
              ElementsAre("“after <1>” answers 90.0 % of 30 questions word for word; “before” 10.0 %."));
  ASSERT_EQ(result.pictures.size(), 1u);  // bars of the answers
  EXPECT_THAT(read_file(result.html), AllOf(HasSubstr("<h2>Answers"), HasSubstr("<h2>Scores of texts")));
  const Json json = read_json(options_.results_json);
  EXPECT_EQ(json["models"][1]["answer"][0]["exact"], 0.9);
  EXPECT_EQ(json["models"][2]["score"][0]["sum"], -3.0);
}

// A result of `eval` with two windows, whose losses are given.
ResultFile<results::Perplexity> paired_file(const std::string& label, std::vector<double> losses) {
  results::PerplexityPoint point{1024, (losses[0] + losses[1]) / 2, 0, NAN, 2, 512};
  point.perplexity = std::exp(point.loss);
  point.window_losses = std::move(losses);
  auto file = perplexity_file(label, {point}, label);
  file.result.window = "same-targets";
  return file;
}

TEST(PairedDifferences, AreThoseOfTheSameWindowsAgainstTheBest) {
  Inputs inputs;
  inputs.labels = {"worse", "best", "alone"};
  auto& files = inputs.files<results::Perplexity>();
  files = {paired_file("worse", {3.5, 2.25}), paired_file("best", {3.0, 2.0}),
           paired_file("alone", {3.0, 2.5})};
  files[2].result.points[0].num_tokens = 256;  // other tokens: nothing to compare
  const std::vector<NamedTable> tables = PerplexityPart::tables(inputs);
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(
      tables[1].name,
      "Loss above that of “best” in the same windows, in nats, ± its standard error (window same-targets)");
  ASSERT_EQ(tables[1].table.rows.size(), 2u);
  EXPECT_EQ(tables[1].table.rows[0][0].text, "worse");
  EXPECT_EQ(tables[1].table.rows[0][1].text, "+0.3750 ± 0.1250");  // of 0.5 and 0.25
  EXPECT_EQ(tables[1].table.rows[1][1].text, "—");
  for (auto& file : files) file.result.window = "all";
  EXPECT_EQ(PerplexityPart::tables(inputs).size(), 1u) << "windows that overlap";
}

TEST_F(Report, ShowsWhatAnInspectionFound) {
  options_.inputs = {{write_sample(folder_, "data.json", kInspection), ""}};
  const ReportResult result = write_report(options_);
  std::vector<std::string> names;
  for (const NamedTable& table : result.tables) names.push_back(table.name);
  EXPECT_THAT(
      names,
      ElementsAre("data.json", "Lengths", "What sft makes of the samples, by the length of its rows",
                  "Duplicates", "Exact duplicates, the first ones", "Near duplicates, the most similar ones",
                  "Overlap with test.json", "Held-out samples of which most was found", "Expected form"));
  EXPECT_EQ(result.tables[1].table.rows.at(0).at(3).text, "70");
  EXPECT_EQ(result.tables[2].table.rows.at(0).at(3).text, "90");
  EXPECT_EQ(result.tables[8].table.rows.at(0).at(1).text, "NO");
  EXPECT_THAT(result.summary, ElementsAre(HasSubstr("1 of 10 samples of data.json cannot be read"),
                                          "1 of 9 samples repeat an earlier one exactly, and 1 nearly.",
                                          HasSubstr("2 of 4 samples of test.json have leaked"),
                                          "Expected 12,000 samples, found 10 samples."));
  ASSERT_EQ(result.pictures.size(), 1u);
  EXPECT_THAT(result.pictures[0].string(), HasSubstr("-lengths.png"));
  EXPECT_THAT(read_file(result.html),
              AllOf(HasSubstr("<h2>Data"), HasSubstr("expected &lt;b&gt;"), Not(HasSubstr("expected <b>"))));
  EXPECT_EQ(read_json(options_.results_json)["models"][0]["inspect"][0]["compared"], 9);
}

TEST(Histogram, IsDrawnByTheShareOfTheHighestBar) {
  results::InspectedFile file;
  file.unit = "tokens";
  file.histogram = {{0, 0, 0, 3}, {1, 1, 10, 0}, {2, 3, 0, 0}, {4, 7, 5, 0}, {8, 15, 0, 2}};
  const Table table = histogram_text(file);
  ASSERT_EQ(table.rows.size(), 3u);  // what only answers have is left out at both ends
  EXPECT_EQ(table.rows[0][0].text, "1");
  EXPECT_EQ(table.rows[2][0].text, "4 – 7");
  EXPECT_EQ(display_width(table.rows[0][3].text), 40);
  EXPECT_EQ(display_width(table.rows[1][3].text), 0);
  EXPECT_EQ(display_width(table.rows[2][3].text), 20);
  EXPECT_TRUE(histogram_text({}).rows.empty());
}

TEST_F(Report, SaysWhichModelFindsATextLikeliest) {
  std::string worse = kScore;
  worse.replace(worse.find("-3.0"), 4, "-4.0");
  options_.inputs = {{write_sample(folder_, "one.json", worse), "before"},
                     {write_sample(folder_, "two.json", kScore), "after"}};
  const ReportResult result = write_report(options_);
  EXPECT_THAT(
      result.summary,
      ElementsAre("“after” finds a text of 3 tokens likeliest, with a perplexity of 4.48: 39.3 % lower "
                  "than “before” (7.39)."));
  const Table& scores = result.tables.at(0).table;
  EXPECT_TRUE(scores.rows[1][1].is_best);
  EXPECT_TRUE(scores.rows[1][3].is_best);
  EXPECT_FALSE(scores.rows[0][3].is_best);
}

TEST(Summarize, SaysSoWhenTheFirstModelIsTheBest) {
  Inputs inputs;
  inputs.labels = {"a", "b"};
  inputs.files<results::Perplexity>().push_back(
      perplexity_file("a", {{512, 0, 10.0, NAN, 1}, {1024, 0, 12.0, NAN, 1}}, "a"));
  inputs.files<results::Perplexity>().push_back(
      perplexity_file("b", {{512, 0, 11.0, NAN, 1}, {1024, 0, 15.0, NAN, 1}}, "b"));
  EXPECT_THAT(
      summarize(inputs),
      ElementsAre(
          "At 1,024 tokens of context “a” has the lowest perplexity, 12.00; “b” comes next with 15.00 "
          "(25.0 % higher).",
          "For “a” perplexity goes from 10.00 at 512 to 12.00 at 1,024 tokens; more context does not "
          "help over all, with a rise between 512 and 1,024 tokens (10.00 to 12.00)."));
}

TEST(Summarize, DoesNotCompareWithWhatIsNotFinite) {
  Inputs inputs;
  inputs.labels = {"a", "b"};
  inputs.files<results::Perplexity>().push_back(perplexity_file("a", {{1024, NAN, NAN, NAN, 1}}, "a"));
  EXPECT_THAT(summarize(inputs), ElementsAre("No model has a finite perplexity at 1,024 tokens."));
  inputs.files<results::Perplexity>().push_back(perplexity_file("b", {{1024, 0, 15.0, NAN, 1}}, "b"));
  EXPECT_THAT(summarize(inputs),
              Contains("At 1,024 tokens of context “b” has the lowest perplexity, 15.00; “a” has no "
                       "finite perplexity there."));
}

TEST(HtmlDocument, RefusesPicturesThatAreNotPng) {
  HtmlDocument document("title");
  EXPECT_THROW(document.picture("GIF89a", "caption", "words"), Error);
}

}  // namespace
}  // namespace longlora::report
