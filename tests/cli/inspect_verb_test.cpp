#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/results/inspection.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::cli {
namespace {

using test::Words;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

const std::string kSamples = test::data("goldens/inspect/samples.jsonl");
const std::string kHeldOut = test::data("goldens/inspect/held_out.jsonl");
const std::string kTokenizer = test::data("tokenizers/llama2");

std::string run(const Words& words) {
  testing::internal::CaptureStdout();
  try {
    test::run(test::with({"inspect"}, words));
  } catch (...) {
    testing::internal::GetCapturedStdout();
    throw;
  }
  return testing::internal::GetCapturedStdout();
}

TEST(InspectVerb, PrintsTablesAndWritesTheResult) {
  const test::TemporaryDirectory folder;
  const std::string json = folder / "result.json";
  const std::string out = run({kSamples, "--against", kHeldOut, "--tokenizer", kTokenizer, "--prompt",
                               "alpaca", "--model_max_length", "128,256", "--json", json});
  EXPECT_THAT(out, AllOf(HasSubstr("58, 3 of them broken"), HasSubstr("question and answer 33"),
                         HasSubstr("longest user text"), HasSubstr("█"), HasSubstr("tokens cut off")));
  EXPECT_THAT(out, AllOf(HasSubstr("Overlap with " + kHeldOut), HasSubstr("held-out samples"),
                         HasSubstr("3 of 8 samples of " + kHeldOut + " have leaked")));
  const auto result = results::Inspection::from_json(read_json(json), json);
  EXPECT_EQ(result.prompt, "alpaca");
  EXPECT_EQ(result.truncation, "middle");
  EXPECT_EQ(result.files.at(0).fits.size(), 2u);
  EXPECT_EQ(result.duplicates.num_exact, 3);
}

TEST(InspectVerb, SaysThatLengthsAreInWordsWithoutATokenizer) {
  EXPECT_THAT(run({kSamples}), AllOf(HasSubstr("in words; --model or --tokenizer counts tokens"),
                                     Not(HasSubstr("tokens cut off"))));
}

TEST(InspectVerb, FailsWhereTheFormIsNotAsExpected) {
  EXPECT_THAT(
      [] {
        run({kSamples, "--expect", "longalpaca"});
      },
      ThrowsMessage<InputError>(AllOf(HasSubstr("[--expect longalpaca]"),
                                      HasSubstr("expected 12,000 samples, got 58 samples"),
                                      HasSubstr("instruction in 33"))));
}

TEST(InspectVerb, WritesTheResultOfAFormThatIsNotAsExpected) {
  const test::TemporaryDirectory folder;
  const std::string json = folder / "result.json";
  EXPECT_THROW(run({kSamples, "--expect", "longalpaca", "--json", json}), InputError);
  EXPECT_FALSE(results::Inspection::from_json(read_json(json), json).expectations.at(0).holds);
}

TEST(InspectVerb, RefusesToCompareAFileWithItself) {
  EXPECT_THAT(
      [] {
        run({kSamples, "--against", kSamples});
      },
      ThrowsMessage<UsageError>(HasSubstr("[--against] expected other data")));
}

TEST(InspectVerb, RefusesAPromptFormWithoutATokenizer) {
  EXPECT_THROW(run({kSamples, "--prompt", "alpaca"}), UsageError);
}

TEST(InspectVerb, NeverWritesOverItsInput) {
  const test::TemporaryDirectory folder;
  const std::string file = folder / "data.json";
  write_file_atomic(file, read_file(kSamples));
  EXPECT_THROW(run({file, "--json", file}), UsageError);
  EXPECT_EQ(read_file(file), read_file(kSamples));
}

}  // namespace
}  // namespace longlora::cli
