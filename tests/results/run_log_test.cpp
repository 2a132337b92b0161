#include "longlora/results/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "longlora/core/file.h"
#include "tests/support/temporary_directory.h"

namespace longlora::results {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string log_of(const test::TemporaryDirectory& folder) {
  return read_file(folder.path() / "train_log.jsonl");
}

// The bytes of the only event file.
std::string events_of(const test::TemporaryDirectory& folder) {
  const auto files = list_directory(folder.path() / "runs");
  return files.size() == 1 ? read_file(files[0]) : "";
}

TEST(RunLog, WritesALineAndTheCurvesOfAStep) {
  const test::TemporaryDirectory folder;
  RunLog log(folder.path());
  log.add(TrainStep{.step = 3,
                    .epoch = 0.5,
                    .loss = 2.5,
                    .learning_rate = 0.25,
                    .grad_norm = INFINITY,
                    .tokens_per_second = 8.0,
                    .tokens = 64,
                    .peak_memory_bytes = 128,
                    .seconds = 4.0});
  log.add(TrainEvaluation{.step = 3, .loss = 1.0, .perplexity = 2.75, .accuracy = 0.5});
  EXPECT_EQ(log_of(folder),
            "{\"step\":3,\"epoch\":0.5,\"loss\":2.5,\"learning_rate\":0.25,\"grad_norm\":null,"
            "\"tokens_per_second\":8.0,\"tokens\":64,\"peak_memory_bytes\":128,\"seconds\":4.0}\n"
            "{\"step\":3,\"eval_loss\":1.0,\"eval_perplexity\":2.75,\"eval_accuracy\":0.5}\n");
  EXPECT_THAT(events_of(folder), AllOf(HasSubstr("train/loss"), HasSubstr("train/learning_rate"),
                                       HasSubstr("train/grad_norm"), HasSubstr("train/tokens_per_second"),
                                       HasSubstr("eval/loss"), HasSubstr("eval/perplexity")));
}

TEST(RunLog, DrawsNoLossOfAStepWithoutLabels) {
  const test::TemporaryDirectory folder;
  RunLog log(folder.path());
  log.add(TrainStep{.step = 1, .grad_norm = 0.0});
  EXPECT_THAT(log_of(folder), HasSubstr("\"loss\":null"));
  EXPECT_THAT(events_of(folder), AllOf(HasSubstr("train/grad_norm"), testing::Not(HasSubstr("train/loss"))));
}

TEST(RunLog, TruncatesAfterAStep) {
  const test::TemporaryDirectory folder;
  RunLog log(folder.path());
  log.truncate(0);  // no log yet
  const auto line = [](int step) {
    return TrainEvaluation{.step = step, .loss = 0.5 * step, .perplexity = 1.5, .accuracy = 0.5};
  };
  for (int step = 1; step <= 5; ++step) log.add(line(step));
  {
    std::ofstream file(folder.path() / "train_log.jsonl", std::ios::app);
    file << "{\"step\": 6, \"lo";  // cut off by a kill
  }
  log.truncate(3);
  const std::string three = log_of(folder);
  EXPECT_EQ(three,
            "{\"step\":1,\"eval_loss\":0.5,\"eval_perplexity\":1.5,\"eval_accuracy\":0.5}\n"
            "{\"step\":2,\"eval_loss\":1.0,\"eval_perplexity\":1.5,\"eval_accuracy\":0.5}\n"
            "{\"step\":3,\"eval_loss\":1.5,\"eval_perplexity\":1.5,\"eval_accuracy\":0.5}\n");
  log.add(line(4));
  EXPECT_THAT(log_of(folder), testing::StartsWith(three + "{\"step\":4,"));
  log.truncate(0);
  EXPECT_EQ(log_of(folder), "");
}

}  // namespace
}  // namespace longlora::results
