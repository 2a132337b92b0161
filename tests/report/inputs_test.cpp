#include "longlora/report/inputs.h"

#include "longlora/report/comparison.h"
#include "tests/report/inputs.h"

namespace longlora::report {
namespace {

using namespace test;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ReadInputs, RecognisesFilesByContentAndKeepsTheOrderOfModels) {
  const test::TemporaryDirectory folder;
  const auto inputs = read_inputs({{write_sample(folder, "x1", kEvalBefore), ""},
                                   {write_sample(folder, "x2", kPasskeyAfter), ""},
                                   {write_sample(folder, "run/train_log.jsonl", kTrainLog).parent_path(), ""},
                                   {write_sample(folder, "x3", kEvalAfter), ""},
                                   {write_sample(folder, "x4.txt", kTrainLog), "renamed"}});
  EXPECT_THAT(inputs.labels, ElementsAre("before", "after <1>", "run", "renamed"));
  EXPECT_EQ(inputs.runs.size(), 2u);
  EXPECT_EQ(inputs.files<results::Perplexity>().size(), 2u);
  EXPECT_EQ(inputs.files<results::Passkey>().size(), 1u);
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
  ResultFile<results::Perplexity> file = perplexity_file("a", {{512, 1.0, 2.7, 0.5, 4}}, "one.json");
  inputs.files<results::Perplexity>().push_back(file);
  file.result.points[0].seq_len = 1024;
  inputs.files<results::Perplexity>().push_back(file);
  file.result.window = "last";
  file.result.data = "books/a.bin, more/b/";
  inputs.files<results::Perplexity>().push_back(file);
  const auto groups = group_perplexities(inputs);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_THAT(groups[0].lengths, ElementsAre(512, 1024));
  EXPECT_EQ(groups[0].models.size(), 1u);
  EXPECT_EQ(describe(groups[1]), "window last, on a.bin, b");
}

TEST(Comparison, NotesARepeatedResultAndShowsTheLater) {
  Inputs inputs;
  inputs.labels = {"a"};
  inputs.files<results::Perplexity>().push_back(perplexity_file("a", {{512, 1.0, 2.7, 0.5, 4}}, "one.json"));
  inputs.files<results::Perplexity>().push_back(perplexity_file("a", {{512, 0.5, 1.6, 0.5, 4}}, "two.json"));
  std::vector<std::string> notes;
  const auto groups = group_perplexities(inputs, &notes);
  EXPECT_DOUBLE_EQ(groups.at(0).models.at(0).points.at(0).perplexity, 1.6);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("two.json")));
}

TEST(Comparison, ShowsTheLaterOfTwoResultsOfTheSameTasksOrTheSameText) {
  const TemporaryDirectory folder;
  const auto first = write_sample(folder, "1.json", kAnswersBefore);
  const auto second = write_sample(folder, "2.json", kAnswersAfter);
  const auto score = write_sample(folder, "3.json", kScore);
  const Inputs inputs = read_inputs({{first, "a"}, {second, "b"}, {second, "a"}, {score, "b"}, {score, "b"}});
  std::vector<std::string> notes;
  const auto answers = shown_answers(inputs, &notes);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0]->label, "a");
  EXPECT_DOUBLE_EQ(answers[0]->result.exact, 0.9);
  const auto scores = group_scores(inputs, &notes);
  ASSERT_EQ(scores.size(), 1u);
  EXPECT_EQ(scores[0].models.size(), 1u);
  EXPECT_THAT(notes, ElementsAre(AllOf(HasSubstr("the same tasks"), HasSubstr("2.json")),
                                 AllOf(HasSubstr("the same text"), HasSubstr("3.json"))));
}

}  // namespace
}  // namespace longlora::report
