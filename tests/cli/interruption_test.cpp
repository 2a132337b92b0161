// Programs that are killed or asked to stop: whatever the instant, nothing half
// of a thing stays, and a resumed run ends with the same bits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>

#include "longlora/core/random.h"
#include "tests/cli/training_run.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

bool any_name_starts_with(const fs::path& folder, const std::string& prefix) {
  if (!fs::exists(folder)) return false;
  for (const std::string& name : names_in(folder))
    if (name.starts_with(prefix)) return true;
  return false;
}

// Kills a run in a pseudo-random file operation, resumes it, kills it again, until it comes through.
void expect_same_bits_however_often_killed(const Words& kind, uint64_t seed, int most_kills,
                                           const std::string& verb = "fine-tune") {
  const TrainingRun run(kind, verb);
  expect_exit(0, run.words(run / "whole"), in_trouble({}, run / "counter"));
  const int64_t operations = count_operations(run / "counter");
  ASSERT_GT(operations, 50);
  int kills = 0;
  for (; kills < most_kills; ++kills) {
    const auto draw = mix_bits(seed, static_cast<uint64_t>(kills)) % static_cast<uint64_t>(operations / 2);
    const FileTrouble trouble = {.kill_at = 1 + static_cast<int64_t>(draw)};
    const Ending ending = test::run(run.words(run / "killed"), in_trouble(trouble, run / "counter"));
    if (ending.exit_code == 0) break;
    EXPECT_EQ(ending.signal, SIGKILL) << ending.err;
  }
  EXPECT_GE(kills, most_kills / 3);
  expect_exit(0, run.words(run / "killed"));
  TrainingRun::expect_same_result(run / "whole", run / "killed");
}

TEST(KilledTraining, OfLoraPlusGoesOnToTheSameBits) {
  expect_same_bits_however_often_killed(kLoraPlusRun, 1, 12);
}

TEST(KilledTraining, OfAllWeightsGoesOnToTheSameBits) {
  expect_same_bits_however_often_killed(kFullRun, 2, 6);
}

TEST(KilledTraining, OnQuestionsAndAnswersGoesOnToTheSameBits) {
  expect_same_bits_however_often_killed(kSftRun, 3, 9, "sft");
}

TEST(KilledTraining, WithEachVariantOfTheAdapterGoesOnToTheSameBits) {
  const Words variants[] = {
      {"--lora_dropout", "0.1"},
      {"--use_dora", "True"},
      {"--optim", "adamw_8bit", "--lora_r", "64"},  // of pairs that are large enough for 8 bits
      {"--use_rslora", "True", "--loraplus_lr_ratio", "8", "--lora_target_modules", R"(.*\.(q|down)_proj)"},
      {"--use_dora", "True", "--lora_dropout", "0.1", "--optim", "adamw_bnb_8bit", "--lora_r", "64",
       "--lora_target_modules", "all-linear"}};
  uint64_t seed = 10;
  for (const Words& variant : variants) {
    SCOPED_TRACE(::testing::PrintToString(variant));
    expect_same_bits_however_often_killed(with(kSftRun, variant), seed++, 4, "sft");
  }
}

// Kills the run in each of its last file operations, among which the result appears.
void expect_result_whole_or_nothing(const Words& kind, const std::string& description) {
  const TrainingRun run(kind);
  expect_exit(0, run.words(run / "whole"), in_trouble({}, run / "counter"));
  const int64_t operations = count_operations(run / "counter");
  const auto whole = TrainingRun::result_of(run / "whole");
  const int64_t kOfTheResult = 45;
  for (int64_t kill_at = operations - kOfTheResult; kill_at <= operations; kill_at += 4) {
    SCOPED_TRACE(::testing::Message() << "operation " << kill_at << " of " << operations);
    const fs::path out = run / ("killed" + std::to_string(kill_at));
    EXPECT_EQ(test::run(run.words(out), in_trouble({.kill_at = kill_at}, run / "counter")).signal, SIGKILL);
    const auto left = TrainingRun::result_of(out);
    for (const auto& [name, bytes] : whole) {
      const bool is_result = name.find("checkpoint-") == std::string::npos && name != ".longlora.json";
      if (left.count(description) == 0 || !is_result) continue;
      EXPECT_TRUE(left.count(name) != 0 && left.at(name) == bytes) << name;
    }
    if (kill_at % 3 == 0) {  // and goes on to the same
      expect_exit(0, run.words(out));
      TrainingRun::expect_same_result(run / "whole", out);
    }
  }
}

TEST(KilledTraining, LeavesAnAdapterWholeOrNone) {
  expect_result_whole_or_nothing(kLoraPlusRun, "adapter_config.json");
}

TEST(KilledTraining, LeavesAModelWholeOrNone) {
  expect_result_whole_or_nothing(kFullRun, "config.json");
}

TEST(KilledTraining, ThatReplacesARunKeepsItUntilItIsFinished) {
  const TrainingRun run(kLoraPlusRun);
  Words again = run.words(run / "out");
  again[static_cast<size_t>(std::find(again.begin(), again.end(), "--resume") - again.begin())] =
      "--overwrite_output_dir";
  expect_exit(0, run.words(run / "out"));
  const auto first = TrainingRun::result_of(run / "out");
  expect_exit(0, again, in_trouble({}, run / "counter"));
  const int64_t operations = count_operations(run / "counter");
  for (int64_t kill_at = 1; kill_at <= operations; kill_at += operations / 16) {
    SCOPED_TRACE(::testing::Message() << "operation " << kill_at << " of " << operations);
    const Ending ending = test::run(again, in_trouble({.kill_at = kill_at}, run / "counter"));
    EXPECT_EQ(ending.signal, SIGKILL) << ending.err;
    // Whatever the instant, the weights of a whole run are somewhere.
    int results = 0;
    for (const auto& [name, bytes] : contents(run / "out"))
      if (name.ends_with("adapter_model.safetensors") && bytes == first.at("adapter_model.safetensors"))
        ++results;
    EXPECT_GE(results, 1);
  }
  expect_exit(0, again);
  EXPECT_TRUE(TrainingRun::result_of(run / "out") == first);
}

TEST(KilledTraining, FromOutsideGoesOnToTheSameBits) {
  const TrainingRun run(kLoraPlusRun);
  expect_exit(0, run.words(run / "whole"));
  // While it writes a checkpoint, between a step and its checkpoint, and while it writes another.
  const std::function<bool(Process&)> instants[] = {
      [&](Process& process) {
        return process.wait_until(
            [&] { return any_name_starts_with(run / "killed", ".checkpoint-1.staging"); });
      },
      [](Process& process) { return process.wait_for("step 3/4"); },
      [&](Process& process) {
        return process.wait_until(
            [&] { return any_name_starts_with(run / "killed", ".checkpoint-4.staging"); });
      }};
  for (const auto& reach : instants) {
    Process process(run.words(run / "killed"));
    EXPECT_TRUE(reach(process));
    process.send(SIGKILL);
    EXPECT_EQ(process.wait().signal, SIGKILL);
  }
  expect_exit(0, run.words(run / "killed"));
  TrainingRun::expect_same_result(run / "whole", run / "killed");
}

TEST(StoppedTraining, SavesAndGoesOnToTheSameBits) {
  const TrainingRun run(kLongRun);
  expect_exit(0, run.words(run / "whole"));
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    SCOPED_TRACE(::strsignal(signal));
    const fs::path out = run / ::strsignal(signal);
    Process process(run.words(out));
    EXPECT_TRUE(process.wait_for("step 2/60"));
    process.send(signal);
    const Ending stopped = process.wait();
    EXPECT_EQ(stopped.exit_code, 128 + signal) << stopped.err;
    EXPECT_THAT(stopped.err, HasSubstr("the same command with --resume goes on"));
    EXPECT_FALSE(fs::exists(out / "adapter_model.safetensors"));
    const Ending finished = expect_exit(0, run.words(out));
    EXPECT_THAT(finished.err, HasSubstr("resuming after step"));
    // The checkpoint of the stop is there beside that of the end.
    std::string checkpoint;
    for (const std::string& name : names_in(out))
      if (name.starts_with("checkpoint-") && name != "checkpoint-60") checkpoint = name;
    EXPECT_THAT(stopped.err,
                HasSubstr("stopped after step " + checkpoint.substr(checkpoint.find('-') + 1) + ":"));
    remove_tree(out / checkpoint);
    TrainingRun::expect_same_result(run / "whole", out);
  }
}

TEST(StoppedTraining, GoesOnAfterSighupUnderNohup) {
  const TrainingRun run(kLoraPlusRun);
  expect_exit(0, run.words(run / "whole"));
  // The child inherits what this process ignores, as nohup has it.
  const auto before = std::signal(SIGHUP, SIG_IGN);
  Process process(run.words(run / "nohup"));
  std::signal(SIGHUP, before);
  EXPECT_TRUE(process.wait_for("step 1/4"));
  process.send(SIGHUP);
  EXPECT_EQ(process.wait().exit_code, 0);
  TrainingRun::expect_same_result(run / "whole", run / "nohup");
}

// Kills `words` in every `stride`-th file operation. What stands at `output` then is nothing or the whole;
// the next run makes the whole and leaves nothing else in its folder.
void expect_whole_or_nothing(const std::function<Words(const fs::path&)>& words, const std::string& output,
                             int64_t stride) {
  TemporaryDirectory folder;
  fs::create_directories(folder / "whole");
  fs::create_directories(folder / "killed");
  expect_exit(0, words(folder / "whole" / output), in_trouble({}, folder / "counter"));
  const int64_t operations = count_operations(folder / "counter");
  ASSERT_GT(operations, 5);
  const auto whole = contents(folder / "whole");
  for (int64_t kill_at = 1; kill_at <= operations; kill_at += stride) {
    SCOPED_TRACE(::testing::Message() << "operation " << kill_at << " of " << operations);
    const Ending ending =
        run(words(folder / "killed" / output), in_trouble({.kill_at = kill_at}, folder / "counter"));
    EXPECT_EQ(ending.signal, SIGKILL) << ending.err;
    for (const auto& [name, bytes] : contents(folder / "killed")) {
      if (name.starts_with(".")) continue;
      const auto expected = whole.find(name);
      EXPECT_TRUE(expected != whole.end() && expected->second == bytes) << name;
    }
    // The next attempt, killed or not, tidies up.
    if (kill_at + stride <= operations) remove_tree(folder / "killed" / output);
  }
  remove_tree(folder / "killed" / output);
  expect_exit(0, words(folder / "killed" / output));
  EXPECT_TRUE(contents(folder / "killed") == whole) << ::testing::PrintToString(names_in(folder / "killed"));
}

TEST(KilledTokenize, LeavesTheWholeOrNothing) {
  TemporaryDirectory folder;
  std::string text;
  for (int i = 0; i < 300; ++i) text += "Once upon a time there was a little girl named Lily. ";
  write_file_atomic(folder / "text.txt", text);
  expect_whole_or_nothing(
      [&](const fs::path& output) {
        return Words{"tokenize", "--tokenizer", data("stories260K_hf"), "--input", folder / "text.txt",
                     "--output", output};
      },
      "ids.bin", 1);
}

TEST(KilledMerge, LeavesTheWholeOrNothing) {
  expect_whole_or_nothing(
      [](const fs::path& output) {
        return Words{"merge",
                     "--base_model",
                     data("goldens/tiny_models/gqa_untied"),
                     "--peft_model",
                     data("goldens/peft_adapter"),
                     "--context_size",
                     "128",
                     "--save_path",
                     output};
      },
      "merged", 5);
}

}  // namespace
}  // namespace longlora::test
