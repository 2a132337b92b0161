// Outputs that cannot be written: a full disk, a limit on file sizes, devices and impossible places.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/training_run.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kNoSpace = "No space left on device; free space on that disk";

void expect_nothing_hidden(const fs::path& folder) {
  for (const auto& [name, bytes] : contents(folder)) {
    if (name.ends_with(".longlora.json")) continue;
    EXPECT_FALSE(name.starts_with(".")) << name;
    EXPECT_EQ(name.find("/."), std::string::npos) << name;
  }
}

int64_t total_bytes(const fs::path& folder) {
  int64_t total = 0;
  for (const auto& [name, bytes] : contents(folder)) total += static_cast<int64_t>(bytes.size());
  return total;
}

TEST(FullDisk, EndsTrainingSoThatItGoesOnToTheSameBits) {
  const TrainingRun run(kLoraPlusRun);
  expect_exit(0, run.words(run / "whole"));
  const int64_t checkpoint = total_bytes(run / "whole/checkpoint-4");
  // No checkpoint fits; one fits; none; one more.
  for (const double checkpoints : {0.4, 1.5, 0.9, 1.3}) {
    SCOPED_TRACE(::testing::Message() << checkpoints << " checkpoints fit");
    const auto room = static_cast<int64_t>(checkpoints * static_cast<double>(checkpoint));
    const Ending ending =
        expect_exit(4, run.words(run / "full"), in_trouble({.capacity = room}, run / "counter"));
    EXPECT_THAT(ending.err, HasSubstr(kNoSpace));
    expect_nothing_hidden(run / "full");
  }
  EXPECT_TRUE(fs::exists(run / "full/checkpoint-2"));
  expect_exit(0, run.words(run / "full"));
  TrainingRun::expect_same_result(run / "whole", run / "full");
}

TEST(FullDisk, IsALimitOnFileSizesToo) {
  const TrainingRun run(kLoraPlusRun);
  expect_exit(0, run.words(run / "whole"));
  const Ending ending = expect_exit(4, run.words(run / "full"), {.file_size_limit_bytes = 100'000});
  EXPECT_THAT(ending.err, AllOf(HasSubstr("File too large"), HasSubstr("ulimit -f")));
  expect_nothing_hidden(run / "full");
  for (const std::string& name : names_in(run / "full")) EXPECT_FALSE(name.starts_with("checkpoint")) << name;
  expect_exit(0, run.words(run / "full"));
  TrainingRun::expect_same_result(run / "whole", run / "full");
}

TEST(FullDisk, LeavesNothingOfTokenizeAndMerge) {
  TemporaryDirectory folder;
  fs::create_directories(folder / "out");
  write_file_atomic(folder / "text.txt", std::string(20000, 'a'));
  const Words commands[] = {{"tokenize", "--tokenizer", data("stories260K_hf"), "--input",
                             folder / "text.txt", "--output", folder / "out/ids.bin"},
                            {"merge", "--base_model", data("goldens/tiny_models/gqa_untied"), "--peft_model",
                             data("goldens/peft_adapter"), "--save_path", folder / "out/merged"}};
  for (const Words& words : commands)
    for (const int64_t room : {0, 1000, 10000}) {
      const Ending ending = expect_exit(4, words, in_trouble({.capacity = room}, folder / "counter"));
      EXPECT_THAT(ending.err, HasSubstr(kNoSpace));
      EXPECT_TRUE(names_in(folder / "out").empty()) << words[0] << ", " << room;
    }
}

TEST(FullDisk, IsSaidWhereResultsGo) {
  const Words score = {"score", "--base_model", data("stories260K_hf"), "--ids", "1,2,3"};
  EXPECT_THAT(expect_exit(4, with(score, {"--json", "/dev/full"})).err,
              AllOf(HasSubstr("/dev/full"), HasSubstr(kNoSpace)));
  EXPECT_THAT(expect_exit(4, score, {.stdout_path = "/dev/full"}).err, HasSubstr("standard output"));
}

TEST(ImpossiblePlace, IsRefusedByEveryVerbThatWrites) {
  TemporaryDirectory folder;
  write_file_atomic(folder / "file", "a file, not a folder");
  write_file_atomic(folder / "text.txt", "Once upon a time");
  write_ids(folder / "ids.bin", 2000, 512);
  const std::string base = data("stories260K_hf"), below = folder / "file/below";
  const Words commands[] = {
      {"tokenize", "--tokenizer", base, "--input", folder / "text.txt", "--output", below + ".bin"},
      {"fine-tune", "--model_name_or_path", base, "--data_path", folder / "ids.bin", "--output_dir", below,
       "--model_max_length", "64"},
      {"merge", "--base_model", data("goldens/tiny_models/gqa_untied"), "--peft_model",
       data("goldens/peft_adapter"), "--save_path", below},
      {"score", "--base_model", base, "--ids", "1,2,3", "--json", below},
      {"eval", "--base_model", base, "--data_path", folder / "ids.bin", "--seq_len", "64", "--max_windows",
       "1", "--json", below},
  };
  for (const Words& words : commands) {
    EXPECT_THAT(expect_exit(4, words).err, AllOf(HasSubstr("error: ["), HasSubstr("file"))) << words[0];
    EXPECT_THAT(names_in(folder.path()), ElementsAre("file", "ids.bin", "text.txt")) << words[0];
  }
}

}  // namespace
}  // namespace longlora::test
