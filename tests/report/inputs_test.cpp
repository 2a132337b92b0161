#include "longlora/report/inputs.h"

#include <cmath>

#include "longlora/report/comparison.h"
#include "tests/report/samples.h"

namespace longlora::report {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TrainLog, ReadsStepsAndEvaluations) {
  const TrainLog log = parse_train_log(kTrainLog, "log");
  ASSERT_EQ(log.steps.size(), 3u);
  EXPECT_EQ(log.steps[1].step, 2);
  EXPECT_DOUBLE_EQ(log.steps[1].loss, 3.5);
  EXPECT_DOUBLE_EQ(log.steps[1].learning_rate, 2e-5);
  EXPECT_DOUBLE_EQ(log.steps[1].gradient_norm, 1.5);
  EXPECT_EQ(log.steps[2].tokens, 12288);
  EXPECT_EQ(log.steps[2].peak_memory_bytes, 2097152);
  EXPECT_DOUBLE_EQ(log.steps[2].seconds, 12.0);
  ASSERT_EQ(log.evaluations.size(), 1u);
  EXPECT_EQ(log.evaluations[0].step, 2);
  EXPECT_DOUBLE_EQ(log.evaluations[0].perplexity, 20.0855);
  EXPECT_TRUE(log.notes.empty());
}

TEST(TrainLog, LeavesOutAnUnfinishedLastLineWithANote) {
  const TrainLog log = parse_train_log(kTrainLog + "{\"step\":4,\"lo", "log");
  EXPECT_EQ(log.steps.size(), 3u);
  EXPECT_THAT(log.notes, ElementsAre(AllOf(HasSubstr("log"), HasSubstr("(5)"))));
}

TEST(TrainLog, RefusesADamagedLineInTheMiddleAndNamesIt) {
  EXPECT_THAT(input_error_of([] { parse_train_log("{\"step\":1,\"loss\"\n" + kTrainLog, "run/log"); }),
              AllOf(HasSubstr("run/log, line 1"), HasSubstr("expected one JSON object")));
}

TEST(TrainLog, TakesTheLaterOfRepeatedSteps) {
  const TrainLog log = parse_train_log(kTrainLog + R"({"step":2,"loss":9.0})" + "\n", "log");
  ASSERT_EQ(log.steps.size(), 2u);
  EXPECT_DOUBLE_EQ(log.steps[1].loss, 9.0);
  EXPECT_TRUE(log.evaluations.empty());
}

TEST(TrainLog, ReadsNullAsNotANumber) {
  const TrainLog log = parse_train_log(R"({"step":1,"loss":null})", "log");
  EXPECT_TRUE(std::isnan(log.steps.at(0).loss));
}

TEST(TrainLog, RefusesWrongTypesAndMissingSteps) {
  EXPECT_THAT(input_error_of([] { parse_train_log(R"({"loss":1.0})", "log"); }), HasSubstr("\"step\""));
  EXPECT_THAT(input_error_of([] { parse_train_log(R"({"step":-1,"loss":1.0})", "log"); }),
              HasSubstr("whole number of at least 0"));
  EXPECT_THAT(input_error_of([] { parse_train_log(R"({"step":1,"loss":"low"})", "log"); }),
              AllOf(HasSubstr("a number under \"loss\""), HasSubstr("\"low\"")));
  EXPECT_THAT(input_error_of([] { parse_train_log("[1]\n{}\n", "log"); }), HasSubstr("a JSON object"));
  EXPECT_THAT(input_error_of([] { parse_train_log("\n\n", "log"); }), HasSubstr("got none"));
}

TEST(PerplexityResult, ReadsAListOfLengthsInAscendingOrder) {
  Json json = Json::parse(kEvalBefore);
  std::swap(json["results"][0], json["results"][1]);
  const PerplexityResult result = parse_perplexity(json, "eval.json");
  EXPECT_EQ(result.label, "before");
  EXPECT_EQ(result.window, "same-targets");
  ASSERT_EQ(result.points.size(), 2u);
  EXPECT_EQ(result.points[0].seq_len_tokens, 512);
  EXPECT_DOUBLE_EQ(result.points[1].perplexity, 1500.0);
  EXPECT_DOUBLE_EQ(result.points[1].accuracy, 0.05);
  EXPECT_EQ(result.points[1].num_windows, 8);
}

TEST(PerplexityResult, ReadsASingleResultAtTheTop) {
  const PerplexityResult result = parse_perplexity(
      Json::parse(R"({"verb":"eval","model":"runs/tuned/","window":"all","seq_len":512,"val_loss":2.0})"),
      "e.json");
  EXPECT_EQ(result.label, "tuned");
  ASSERT_EQ(result.points.size(), 1u);
  EXPECT_NEAR(result.points[0].perplexity, std::exp(2.0), 1e-12);
  EXPECT_TRUE(std::isnan(result.points[0].accuracy));
}

TEST(PerplexityResult, RefusesWhatIsNotOne) {
  const auto error_of = [](const char* text) {
    return input_error_of([&] { parse_perplexity(Json::parse(text), "dir/e.json"); });
  };
  EXPECT_THAT(error_of(R"({"verb":"eval","seq_len":512})"),
              AllOf(HasSubstr("dir/e.json"), HasSubstr("\"val_loss\"")));
  EXPECT_THAT(error_of(R"({"verb":"eval","results":[]})"), HasSubstr("an empty list"));
  EXPECT_THAT(
      error_of(R"({"verb":"eval","results":[{"seq_len":512,"val_loss":1},{"seq_len":0,"val_loss":1}]})"),
      AllOf(HasSubstr("results[1]"), HasSubstr("at least 1"), HasSubstr("got 0")));
  EXPECT_THAT(error_of(R"({"verb":"eval","label":7,"seq_len":5,"val_loss":1})"),
              HasSubstr("a string under \"label\""));
}

TEST(PasskeyResult, ReadsLengthsAndTrials) {
  const PasskeyResult result = parse_passkey(Json::parse(kPasskeyAfter), "p.json");
  ASSERT_EQ(result.lengths.size(), 2u);
  EXPECT_DOUBLE_EQ(result.lengths[1].tokens, 4001.5);
  EXPECT_DOUBLE_EQ(result.lengths[1].accuracy, 0.5);
  ASSERT_EQ(result.lengths[1].trials.size(), 2u);
  EXPECT_DOUBLE_EQ(result.lengths[1].trials[1].depth, 0.9);
  EXPECT_FALSE(result.lengths[1].trials[1].correct);
}

TEST(PasskeyResult, RefusesSharesOutsideZeroToOne) {
  Json json = Json::parse(kPasskeyAfter);
  json["results"][1]["trials"][0]["depth"] = 1.5;
  EXPECT_THAT(input_error_of([&] { parse_passkey(json, "p.json"); }),
              AllOf(HasSubstr("p.json, results[1], trials[0]"), HasSubstr("from 0 to 1"), HasSubstr("1.5")));
}

TEST(AnswerResult, ReadsTasks) {
  const AnswerResult result = parse_answers(Json::parse(kAnswersAfter), "a.json");
  EXPECT_EQ(result.label, "after <1>");
  EXPECT_EQ(result.num_skipped, 2);
  ASSERT_EQ(result.tasks.size(), 3u);
  EXPECT_EQ(result.tasks[1].task, "find");
  EXPECT_EQ(result.tasks[1].num_questions, 10);
  EXPECT_DOUBLE_EQ(result.tasks[2].exact, 0.9);
}

TEST(ScoreResult, ReadsTheSumAndTheIds) {
  const ScoreResult result = parse_score(Json::parse(kScore), "s.json");
  EXPECT_EQ(result.label, "tuned");
  EXPECT_EQ(result.num_scored, 2);
  EXPECT_DOUBLE_EQ(result.sum, -3.0);
  EXPECT_THAT(input_error_of([] { parse_score(Json::parse(R"({"verb":"score","sum":-3})"), "dir/s.json"); }),
              AllOf(HasSubstr("dir/s.json"), HasSubstr("under \"ids\""), HasSubstr("got none")));
}

TEST(ReadInputs, RecognisesFilesByContentAndKeepsTheOrderOfModels) {
  const test::TemporaryDirectory folder;
  const auto inputs = read_inputs({{write_sample(folder, "x1", kEvalBefore), ""},
                                   {write_sample(folder, "x2", kPasskeyAfter), ""},
                                   {write_sample(folder, "run/train_log.jsonl", kTrainLog).parent_path(), ""},
                                   {write_sample(folder, "x3", kEvalAfter), ""},
                                   {write_sample(folder, "x4.txt", kTrainLog), "renamed"}});
  EXPECT_THAT(inputs.labels, ElementsAre("before", "after <1>", "run", "renamed"));
  EXPECT_EQ(inputs.runs.size(), 2u);
  EXPECT_EQ(inputs.perplexities.size(), 2u);
  EXPECT_EQ(inputs.passkeys.size(), 1u);
  EXPECT_EQ(inputs.notes.size(), 2u);  // two runs without run.json
}

TEST(ReadInputs, TakesTheLabelOfARunFromItsRunJson) {
  const test::TemporaryDirectory folder;
  write_sample(folder, "out/run.json", R"({"label":"after <1>","learning_rate":2e-05})");
  write_sample(folder, "out/train_log.jsonl", kTrainLog);
  const auto inputs = read_inputs({{folder.path() / "out" / "", ""}});
  EXPECT_THAT(inputs.labels, ElementsAre("after <1>"));
  EXPECT_TRUE(inputs.notes.empty());
}

TEST(ReadInputs, SaysWhatItExpectedOfFilesThatItDoesNotKnow) {
  const test::TemporaryDirectory folder;
  const auto error_of = [&](const std::filesystem::path& path) {
    return input_error_of([&] { read_inputs({{path, ""}}); });
  };
  EXPECT_THAT(error_of(folder.path()),
              AllOf(HasSubstr("train_log.jsonl"), HasSubstr(folder.path().string())));
  EXPECT_THAT(error_of(folder.path() / "missing.json"), HasSubstr("missing.json"));
  EXPECT_THAT(error_of(write_sample(folder, "a.json", "{\"verb\":\"eval\",")), HasSubstr("cut short"));
  EXPECT_THAT(error_of(write_sample(folder, "b.json", "")), HasSubstr("an empty file"));
  EXPECT_THAT(error_of(write_sample(folder, "c.json", "[1,2]")), HasSubstr("without a \"verb\""));
  EXPECT_THAT(error_of(write_sample(folder, "d.json", "{\"verb\":\"merge\"}")),
              HasSubstr("a result of `merge`"));
  write_sample(folder, "run/train_log.jsonl", kTrainLog);
  write_sample(folder, "run/run.json", "[]");
  EXPECT_THAT(error_of(folder.path() / "run"), HasSubstr("run.json"));
}

TEST(Comparison, KeepsDifferentWindowsApartAndJoinsOneModelsFiles) {
  Inputs inputs;
  inputs.labels = {"a"};
  PerplexityResult result{"a", "all", "", {{512, 1.0, 2.7, 0.5, 4}}, "one.json", Json()};
  inputs.perplexities.push_back(result);
  result.points[0].seq_len_tokens = 1024;
  inputs.perplexities.push_back(result);
  result.window = "last";
  result.data = "books/a.bin, more/b/";
  inputs.perplexities.push_back(result);
  const auto groups = group_perplexities(inputs);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_THAT(groups[0].lengths, ElementsAre(512, 1024));
  EXPECT_EQ(groups[0].models.size(), 1u);
  EXPECT_EQ(describe(groups[1]), "window last, on a.bin, b");
}

TEST(Comparison, NotesARepeatedResultAndShowsTheLater) {
  Inputs inputs;
  inputs.labels = {"a"};
  inputs.perplexities.push_back({"a", "all", "", {{512, 1.0, 2.7, 0.5, 4}}, "one.json", Json()});
  inputs.perplexities.push_back({"a", "all", "", {{512, 0.5, 1.6, 0.5, 4}}, "two.json", Json()});
  std::vector<std::string> notes;
  const auto groups = group_perplexities(inputs, &notes);
  EXPECT_DOUBLE_EQ(groups.at(0).models.at(0).points.at(0).perplexity, 1.6);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("two.json")));
}

}  // namespace
}  // namespace longlora::report
