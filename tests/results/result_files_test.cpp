// Result files: what is read of them, and that they are written as they are read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "longlora/core/json.h"
#include "longlora/results/answers.h"
#include "longlora/results/inspection.h"
#include "longlora/results/passkey.h"
#include "longlora/results/perplexity.h"
#include "longlora/results/score.h"
#include "tests/results/samples.h"

namespace longlora::results {
namespace {

using namespace test;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Perplexity, ReadsAListOfLengthsInAscendingOrder) {
  Json json = Json::parse(kEvalBefore);
  std::swap(json["results"][0], json["results"][1]);
  const Perplexity result = Perplexity::from_json(json, "eval.json");
  EXPECT_EQ(result.model.name(), "before");
  EXPECT_EQ(result.window, "same-targets");
  ASSERT_EQ(result.points.size(), 2u);
  EXPECT_EQ(result.points[0].seq_len, 512);
  EXPECT_DOUBLE_EQ(result.points[1].perplexity, 1500.0);
  EXPECT_DOUBLE_EQ(result.points[1].accuracy, 0.05);
  EXPECT_EQ(result.points[1].num_windows, 8);
}

TEST(Perplexity, ReadsASingleResultAtTheTop) {
  const Perplexity result = Perplexity::from_json(
      Json::parse(R"({"verb":"eval","model":"runs/tuned/","window":"all","seq_len":512,"val_loss":2.0})"),
      "e.json");
  EXPECT_EQ(result.model.name(), "tuned");
  ASSERT_EQ(result.points.size(), 1u);
  EXPECT_NEAR(result.points[0].perplexity, std::exp(2.0), 1e-12);
  EXPECT_TRUE(std::isnan(result.points[0].accuracy));
}

TEST(Perplexity, RefusesWhatIsNotOne) {
  const auto error_of = [](const char* text) {
    return input_error_of([&] { Perplexity::from_json(Json::parse(text), "dir/e.json"); });
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

TEST(Passkey, ReadsLengthsAndTrials) {
  const Passkey result = Passkey::from_json(Json::parse(kPasskeyAfter), "p.json");
  ASSERT_EQ(result.lengths.size(), 2u);
  EXPECT_DOUBLE_EQ(result.lengths[1].mean_tokens, 4001.5);
  EXPECT_DOUBLE_EQ(result.lengths[1].accuracy, 0.5);
  ASSERT_EQ(result.lengths[1].trials.size(), 2u);
  EXPECT_DOUBLE_EQ(result.lengths[1].trials[1].depth, 0.9);
  EXPECT_FALSE(result.lengths[1].trials[1].correct);
}

TEST(Passkey, RefusesSharesOutsideZeroToOne) {
  Json json = Json::parse(kPasskeyAfter);
  json["results"][1]["trials"][0]["depth"] = 1.5;
  EXPECT_THAT(input_error_of([&] { Passkey::from_json(json, "p.json"); }),
              AllOf(HasSubstr("p.json, results[1], trials[0]"), HasSubstr("from 0 to 1"), HasSubstr("1.5")));
}

TEST(Answers, ReadsTasks) {
  const Answers result = Answers::from_json(Json::parse(kAnswersAfter), "a.json");
  EXPECT_EQ(result.model.name(), "after <1>");
  EXPECT_EQ(result.num_skipped, 2);
  ASSERT_EQ(result.tasks.size(), 3u);
  EXPECT_EQ(result.tasks[1].task, "find");
  EXPECT_EQ(result.tasks[1].num_questions, 10);
  EXPECT_DOUBLE_EQ(result.tasks[2].exact, 0.9);
}

TEST(Score, ReadsTheSumAndTheIds) {
  const Score result = Score::from_json(Json::parse(kScore), "s.json");
  EXPECT_EQ(result.model.name(), "tuned");
  EXPECT_EQ(result.num_scored(), 2);
  EXPECT_DOUBLE_EQ(result.sum, -3.0);
  EXPECT_THAT(
      input_error_of([] { Score::from_json(Json::parse(R"({"verb":"score","sum":-3})"), "dir/s.json"); }),
      AllOf(HasSubstr("dir/s.json"), HasSubstr("under \"ids\""), HasSubstr("got none")));
}

// What `text` becomes when it is read and written again.
template <typename Result>
Json round_trip(const std::string& text) {
  return Result::from_json(Json::parse(text), "file.json").to_json();
}

TEST(ResultFiles, AreWrittenAsTheyWereRead) {
  const std::string model =
      R"("label":"tuned","model":"base","peft_model":"runs/a","context_size":4096,"rope_scaling":"linear rotary scaling by 8","dtype":"float32","quantize":"none",)";
  const std::string point =
      R"("seq_len":512,"val_loss":1.5,"val_perplexity":4.5,"val_acc":0.25,"windows":2,"tokens":4088,"window_losses":[1.25,1.75])";
  const std::string eval = R"({"verb":"eval",)" + model +
                           R"("data":"a.bin, b.bin","window":"same-targets","target_tokens":256,)" + point +
                           R"(,"results":[{)" + point + "}]}";
  EXPECT_EQ(round_trip<Perplexity>(eval).dump(), eval);
  const std::string passkey =
      R"({"verb":"passkey",)" + model +
      R"("num_tests":2,"results":[{"tokens":423.0,"target_tokens":512,"garbage_chars":1024,"accuracy":0.5,"skipped":0,"trials":[{"seed":0,"depth":0.5,"correct":true,"tokens":423,"pass_key":123,"answer":"123"}]}]})";
  EXPECT_EQ(round_trip<Passkey>(passkey).dump(), passkey);
  const std::string answers =
      R"({"verb":"answer",)" + model +
      R"("prompt":"llama2","exact":1.0,"skipped":2,"results":[{"task":"all","questions":1,"exact":1.0,"mean_tokens":7.0}],"answers":[{"place":"a.jsonl:1","task":"","tokens":7,"expected":"yes","answer":"yes","exact":true}]})";
  EXPECT_EQ(round_trip<Answers>(answers).dump(), answers);
  const std::string score =
      R"({"verb":"score","model":"base","context_size":256,"rope_scaling":"no rotary scaling","dtype":"bfloat16","quantize":"nf4","ids":[1,403,407],"logprobs":[-2.0,null],"sum":null,"mean":null})";
  EXPECT_EQ(round_trip<Score>(score).dump(), score);
  EXPECT_EQ(round_trip<Inspection>(kInspection).dump(), kInspection);
}

TEST(Inspection, SaysWhatIsWrongWithAFile) {
  const auto error_of = [](const std::string& text) {
    return input_error_of([&] { Inspection::from_json(Json::parse(text), "dir/i.json"); });
  };
  EXPECT_THAT(error_of(R"({"verb":"inspect"})"),
              HasSubstr("[dir/i.json] expected a list of objects under \"files\""));
  EXPECT_THAT(error_of(R"({"files":[{"samples":1,"problems":[1]}]})"),
              HasSubstr("[dir/i.json, files[0]] expected a list of texts under \"problems\", got [1]"));
}

TEST(Passkey, CountsItsTrials) {
  Passkey result;
  result.lengths.emplace_back().target_tokens = 512;
  PasskeyLength& length = result.lengths[0];
  length.garbage_chars = 1024;
  length.num_skipped = 1;
  length.add({.correct = true, .tokens = 400});
  length.add({.correct = false, .tokens = 401});
  EXPECT_DOUBLE_EQ(length.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(length.mean_tokens, 400.5);
  EXPECT_EQ(result.to_csv(),
            "target_tokens,garbage_chars,tokens,accuracy,trials,skipped\n512,1024,400.5,0.5000,2,1\n");
}

TEST(Answers, AreSummedUpByTaskAndOverAll) {
  Answers result;
  result.answers = {{.task = "find", .tokens = 10, .exact = true},
                    {.task = "", .tokens = 30, .exact = false},
                    {.task = "copy", .tokens = 20, .exact = true},
                    {.task = "find", .tokens = 20, .exact = false}};
  result.sum_up();
  ASSERT_EQ(result.tasks.size(), 3u);
  EXPECT_EQ(result.tasks[0].task, "find");
  EXPECT_EQ(result.tasks[0].num_questions, 2);
  EXPECT_DOUBLE_EQ(result.tasks[0].exact, 0.5);
  EXPECT_DOUBLE_EQ(result.tasks[0].mean_tokens, 15.0);
  EXPECT_EQ(result.tasks[1].task, "copy");
  EXPECT_EQ(result.tasks[2].task, "all");
  EXPECT_EQ(result.tasks[2].num_questions, 4);
  EXPECT_DOUBLE_EQ(result.exact, 0.5);
}

TEST(Answers, RefuseIdsAndTasksThatAreNone) {
  EXPECT_THAT(input_error_of([] {
                Answers::from_json(Json::parse(R"({"results":[{"questions":3,"exact":1}]})"), "a.json");
              }),
              HasSubstr("[a.json, results[0]] expected the name of a task under \"task\", got none"));
  EXPECT_THAT(input_error_of([] { Score::from_json(Json::parse(R"({"ids":[1,"a"],"sum":-3})"), "s.json"); }),
              HasSubstr("expected a list of at least two ids under \"ids\", got another value"));
}

}  // namespace
}  // namespace longlora::results
