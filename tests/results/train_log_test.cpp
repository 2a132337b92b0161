#include "longlora/results/train_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "longlora/core/json.h"
#include "tests/results/samples.h"

namespace longlora::results {
namespace {

using namespace test;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TrainLog, ReadsStepsAndEvaluations) {
  const TrainLog log = TrainLog::parse(kTrainLog, "log");
  ASSERT_EQ(log.steps.size(), 3u);
  EXPECT_EQ(log.steps[1].step, 2);
  EXPECT_DOUBLE_EQ(log.steps[1].loss, 3.5);
  EXPECT_DOUBLE_EQ(log.steps[1].learning_rate, 2e-5);
  EXPECT_DOUBLE_EQ(log.steps[1].grad_norm, 1.5);
  EXPECT_EQ(log.steps[2].tokens, 12288);
  EXPECT_EQ(log.steps[2].peak_memory_bytes, 2097152);
  EXPECT_DOUBLE_EQ(log.steps[2].seconds, 12.0);
  ASSERT_EQ(log.evaluations.size(), 1u);
  EXPECT_EQ(log.evaluations[0].step, 2);
  EXPECT_DOUBLE_EQ(log.evaluations[0].perplexity, 20.0855);
  EXPECT_TRUE(log.notes.empty());
}

TEST(TrainLog, LeavesOutAnUnfinishedLastLineWithANote) {
  const TrainLog log = TrainLog::parse(kTrainLog + "{\"step\":4,\"lo", "log");
  EXPECT_EQ(log.steps.size(), 3u);
  EXPECT_THAT(log.notes, ElementsAre(AllOf(HasSubstr("log"), HasSubstr("(5)"))));
}

TEST(TrainLog, RefusesADamagedLineInTheMiddleAndNamesIt) {
  EXPECT_THAT(input_error_of([] { TrainLog::parse("{\"step\":1,\"loss\"\n" + kTrainLog, "run/log"); }),
              AllOf(HasSubstr("run/log, line 1"), HasSubstr("expected one JSON object")));
}

TEST(TrainLog, TakesTheLaterOfRepeatedSteps) {
  const TrainLog log = TrainLog::parse(kTrainLog + R"({"step":2,"loss":9.0})" + "\n", "log");
  ASSERT_EQ(log.steps.size(), 2u);
  EXPECT_DOUBLE_EQ(log.steps[1].loss, 9.0);
  EXPECT_TRUE(log.evaluations.empty());
}

TEST(TrainLog, ReadsNullAsNotANumber) {
  const TrainLog log = TrainLog::parse(R"({"step":1,"loss":null})", "log");
  EXPECT_TRUE(std::isnan(log.steps.at(0).loss));
}

TEST(TrainLog, RefusesWrongTypesAndMissingSteps) {
  EXPECT_THAT(input_error_of([] { TrainLog::parse(R"({"loss":1.0})", "log"); }), HasSubstr("\"step\""));
  EXPECT_THAT(input_error_of([] { TrainLog::parse(R"({"step":-1,"loss":1.0})", "log"); }),
              HasSubstr("whole number of at least 0"));
  EXPECT_THAT(input_error_of([] { TrainLog::parse(R"({"step":1,"loss":"low"})", "log"); }),
              AllOf(HasSubstr("a number under \"loss\""), HasSubstr("\"low\"")));
  EXPECT_THAT(input_error_of([] { TrainLog::parse("[1]\n{}\n", "log"); }), HasSubstr("a JSON object"));
  EXPECT_THAT(input_error_of([] { TrainLog::parse("\n\n", "log"); }), HasSubstr("got none"));
}

}  // namespace
}  // namespace longlora::results
