// Where verbs write: never over what they read, nor over what they did not write, and one at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "longlora/core/json.h"
#include "tests/cli/training_run.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDone = 0, kUsage = 2, kInput = 3, kResources = 4;

// A base model of its own, an adapter, data and somebody's notes.
class OutputFolders : public ::testing::Test {
 public:
  OutputFolders() {
    fs::copy(data("goldens/tiny_models/gqa_untied"), folder / "base", fs::copy_options::recursive);
    fs::copy(data("goldens/peft_adapter"), folder / "adapter", fs::copy_options::recursive);
    write_ids(folder / "data.bin", 2000, 96);
    fs::create_directories(folder / "project/notes");
    write_file_atomic(folder / "project/notes/thesis.txt", "the only copy");
    fs::create_directory_symlink("base", folder / "link");
  }

  Words tune(const fs::path& output, const Words& more = {}) const {
    return with({"fine-tune", "--model_name_or_path", folder / "base", "--data_path", folder / "data.bin",
                 "--output_dir", output, "--model_max_length", "64", "--group_size", "16", "--warmup_steps",
                 "0", "--fp32", "True"},
                more);
  }
  Words merge(const fs::path& output, const Words& more = {}) const {
    return with(
        {"merge", "--base_model", folder / "base", "--peft_model", folder / "adapter", "--save_path", output},
        more);
  }
  Words quantize(const fs::path& output, const Words& more = {}) const {
    return with({"quantize", "--model_name_or_path", folder / "base", "--output_dir", output}, more);
  }
  Words convert(const fs::path& output, const Words& more = {}) const {
    return with({"convert", "--input", folder / "base", "--output", output}, more);
  }

  // Fails unless the command is refused with everything as it was.
  Ending expect_untouched(const Words& words, const std::string& saying,
                          const Surroundings& surroundings = {}) const {
    const auto before = contents(folder.path());
    const Ending ending = expect_exit(kUsage, words, surroundings);
    EXPECT_THAT(ending.err, HasSubstr(saying)) << ::testing::PrintToString(words);
    EXPECT_TRUE(contents(folder.path()) == before) << ::testing::PrintToString(words);
    return ending;
  }

  TemporaryDirectory folder;
};

TEST_F(OutputFolders, ThatAreInputsAreRefusedByEveryVerbAndLeftAsTheyAre) {
  for (const std::string place : {"link/", "base/inside", ""}) {
    const fs::path output = folder / place;
    expect_untouched(tune(output, {"--overwrite_output_dir", "True"}), "--model_name_or_path");
    expect_untouched(merge(output, {"--overwrite", "True"}), "--base_model");
    expect_untouched(quantize(output, {"--overwrite", "True"}), "--model_name_or_path");
    expect_untouched(convert(output, {"--overwrite", "True"}), "--input");
  }
  expect_untouched(tune(folder / "base"), "is --model_name_or_path");
  expect_untouched(merge(folder / "adapter", {"--overwrite", "True"}), "is --peft_model");
  expect_untouched(merge(".", {"--overwrite", "True"}), "is --base_model",
                   {.working_folder = folder / "base"});
  expect_untouched(tune(folder / "project", {"--eval_data_path", folder / "project/notes/thesis.txt"}),
                   "holds --eval_data_path");
}

TEST_F(OutputFolders, OfOthersAreRefusedByEveryVerbAndNamed) {
  for (const Words& words : {merge(folder / "project"), merge(folder / "project", {"--overwrite", "True"}),
                             quantize(folder / "project", {"--overwrite", "True"}),
                             convert(folder / "project", {"--overwrite", "True"}), tune(folder / "project"),
                             tune(folder / "project", {"--overwrite_output_dir", "True"})})
    expect_untouched(words, "holds notes");
  expect_untouched(merge(".", {"--overwrite", "True"}), "holds notes",
                   {.working_folder = folder / "project"});
}

TEST_F(OutputFolders, WithAnEarlierResultAreReplacedByTheSameCommandWithOverwrite) {
  for (const Words& words : {merge(folder / "out"), quantize(folder / "out"), convert(folder / "out")}) {
    SCOPED_TRACE(words[0]);
    expect_exit(kDone, words);
    const auto first = contents(folder / "out");
    expect_untouched(words, "add --overwrite True");
    for (int i = 0; i < 2; ++i)
      expect_exit(kDone, with(words, {"--overwrite", "True", "--json", folder / "out/result.json"}));
    fs::remove(folder / "out/result.json");
    EXPECT_TRUE(contents(folder / "out") == first);
    write_file_atomic(folder / "out/README.md", "mine");
    expect_untouched(with(words, {"--overwrite", "True"}), "holds README.md");
    remove_tree(folder / "out");
  }
}

TEST_F(OutputFolders, OfAFinishedRunAreOccupiedWithoutCheckpointsToo) {
  const Words full = tune(folder / "out", {"--low_rank_training", "False", "--max_steps", "2"});
  const Words lora = tune(folder / "out", {"--max_steps", "1", "--lora_r", "4"});
  expect_exit(kDone, full);
  remove_tree(folder / "out/checkpoint-2");
  expect_untouched(lora, "holds the finished result of fine-tune");
  EXPECT_THAT(expect_exit(kDone, with(full, {"--resume", "True"})).err, HasSubstr("finished after 2 steps"));
  EXPECT_THAT(expect_exit(kInput, with(full, {"--resume", "True", "--seed", "9"})).err,
              HasSubstr("seed (was 42, now 9)"));
  // No weights of the first run beside the adapter of the second.
  expect_exit(kDone, with(lora, {"--overwrite_output_dir", "True"}));
  EXPECT_FALSE(fs::exists(folder / "out/model.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "out/replaced-run-1"));
  EXPECT_TRUE(fs::exists(folder / "out/adapter_model.safetensors"));
  expect_exit(kDone, with(lora, {"--overwrite_output_dir", "True"}));
}

TEST_F(OutputFolders, TakeOneRunAtATime) {
  const Words words = tune(folder / "out", {"--max_steps", "100000", "--save_steps", "0"});
  Process first(words);
  ASSERT_TRUE(first.wait_for("step 2/"));
  EXPECT_THAT(expect_exit(kUsage, words).err, HasSubstr("another longlora is writing"));
  EXPECT_THAT(expect_exit(kUsage, with(words, {"--resume", "True"})).err,
              HasSubstr("another longlora is writing"));
  first.send(SIGTERM);
  EXPECT_EQ(first.wait().exit_code, 128 + SIGTERM);
  EXPECT_THAT(expect_exit(kUsage, words).err, HasSubstr("add --resume"));
}

TEST_F(OutputFolders, OfRunsThatGoOnWithMoreStepsHoldTheSameBitsAsOneLongRun) {
  expect_exit(kDone, tune(folder / "long", {"--max_steps", "5"}));
  expect_exit(kDone, tune(folder / "out", {"--max_steps", "3"}));
  EXPECT_THAT(expect_exit(kDone, tune(folder / "out", {"--max_steps", "5", "--resume", "True"})).err,
              HasSubstr("5 steps in place of 3"));
  for (const char* name :
       {"adapter_model.safetensors", "trainable_params.safetensors", "checkpoint-5/optimizer.safetensors"})
    EXPECT_TRUE(read_file(folder / "long" / name) == read_file(folder / "out" / name)) << name;
}

TEST_F(OutputFolders, OfRunsWhoseInputsWereRenamedAreResumedAndOfOtherInputsAreNot) {
  const Words words = tune(folder / "out", {"--max_steps", "2", "--resume", "True"});
  expect_exit(kDone, words);
  fs::rename(folder / "data.bin", folder / "renamed.bin");
  write_ids(folder / "data.bin", 2000, 96, 7);
  EXPECT_THAT(expect_exit(kInput, words).err,
              HasSubstr("expected the samples that this run was started with"));
  fs::rename(folder / "renamed.bin", folder / "data.bin");
  expect_exit(kDone, words);
  Json config = read_json(folder / "base/config.json");
  config["rope_theta"] = 5000.0;
  write_json(folder / "base/config.json", config);
  EXPECT_THAT(expect_exit(kInput, words).err, HasSubstr("the content of --model_name_or_path"));
}

TEST_F(OutputFolders, OfGetTrainableWeightsKeepTheFilesOfTheCheckpoint) {
  fs::copy(data("goldens/peft_variants/released_checkpoint"), folder / "checkpoint",
           fs::copy_options::recursive);
  const auto before = contents(folder / "checkpoint");
  const Words words = {"get-trainable-weights", "--checkpoint_path", folder / "checkpoint"};
  write_file_atomic(folder / "checkpoint/trainable_params.bin", "mine");
  expect_untouched(words, "expected a folder without trainable_params.bin");
  fs::remove(folder / "checkpoint/trainable_params.bin");
  expect_exit(kDone, words);
  const auto after = contents(folder / "checkpoint");
  for (const auto& [name, bytes] : before) EXPECT_TRUE(after.at(name) == bytes) << name;
  expect_exit(kDone, words);  // its own files it replaces
  EXPECT_TRUE(contents(folder / "checkpoint") == after);
}

TEST_F(OutputFolders, AndResultFilesAreRefusedOrMadeBeforeTheWork) {
  const std::string before = read_file(folder / "base/config.json");
  const Words eval = {"eval",        "--base_model",      folder / "base",
                      "--data_path", folder / "data.bin", "--seq_len",
                      "64",          "--max_windows",     "1"};
  const Words passkey = {"passkey", "--base_model", data("stories260K_hf"), "--lengths", "300", "--num_tests",
                         "1"};
  const auto refused = [&](int code, const Words& words, const std::string& saying) {
    const Ending ending = expect_exit(code, words);
    EXPECT_THAT(ending.err, HasSubstr(saying));
    EXPECT_EQ(ending.out, "");  // nothing was computed
  };
  refused(kUsage, with(eval, {"--json", folder / "base/config.json"}), "is a file of --base_model");
  refused(kUsage, with(eval, {"--json", folder / "data.bin"}), "is --data_path");
  refused(kUsage, with(eval, {"--json", folder / "project"}), "got a folder");
  refused(kUsage, with(eval, {"--json", folder / "project/notes/thesis.txt"}), "is not replaced");
  refused(kUsage, with(passkey, {"--json", folder / "pk", "--csv", folder / "pk"}), "that of --csv");
  refused(kResources, with(eval, {"--json", "/proc/x.json"}), "/proc/x.json");
  refused(kResources, with(passkey, {"--csv", folder / "data.bin/x.csv"}), "data.bin");
  EXPECT_EQ(read_file(folder / "base/config.json"), before);
  expect_exit(kDone, with(eval, {"--json", folder / "base/new/eval.json"}));
  expect_exit(kDone, with(eval, {"--json", folder / "base/new/eval.json"}));  // its own result it replaces
  EXPECT_TRUE(fs::exists(folder / "base/new/eval.json"));
  expect_untouched(tune(folder / "out", {"--json", folder / "data.bin"}), "is --data_path");
  expect_untouched(merge(folder / "out", {"--json", folder / "adapter/adapter_config.json"}),
                   "is a file of --peft_model");
}

TEST_F(OutputFolders, KeepOtherResultsInside) {
  expect_exit(kDone, merge(folder / "out"));
  expect_exit(kDone, quantize(folder / "out/nf4"));
  for (const Words& words : {merge(folder / "out"), quantize(folder / "out"), convert(folder / "out")})
    expect_untouched(with(words, {"--overwrite", "True"}), "holds nf4 (another result)");
}

TEST_F(OutputFolders, HaveNoResultFilesUnderNamesOfTheModel) {
  expect_untouched(merge(folder / "out", {"--json", folder / "out/config.json"}), "--json");
  expect_untouched(quantize(folder / "out", {"--json", folder / "out/model.safetensors"}), "--json");
  expect_untouched(convert(folder / "out", {"--json", folder / "out"}), "--json");
  expect_untouched(tune(folder / "out", {"--json", folder / "out/run.json"}), "--json");
  expect_untouched(tune(folder / "out", {"--json", folder / "out/adapter_config.json"}), "--json");
}

TEST_F(OutputFolders, AreMissingWhereResultsGoToStandardOutput) {
  const Words score = {"score", "--base_model", folder / "base", "--ids", "1,2,3"};
  const Ending ending = expect_exit(kDone, with(score, {"--json", "/dev/stdout"}));
  EXPECT_LT(ending.out.find("logprob"), ending.out.find("\"verb\": \"score\""));
  expect_untouched(with(score, {"--json", "-"}), "/dev/stdout");
}

TEST_F(OutputFolders, OfARunWhoseDataIsCutShortKeepTheirCheckpoints) {
  write_ids(folder / "data.bin", 64 * 4000, 96);
  Process process(tune(folder / "out", {"--max_steps", "100000", "--save_steps", "2"}));
  ASSERT_TRUE(process.wait_for("step 3/"));
  ASSERT_EQ(::truncate((folder / "data.bin").c_str(), 0), 0);
  const Ending ending = process.wait();
  EXPECT_EQ(ending.exit_code, kInput) << ending.signal << ending.err;
  EXPECT_THAT(ending.err,
              AllOf(HasSubstr("data.bin] expected a file that stays as it is"), HasSubstr("cut short")));
  EXPECT_TRUE(fs::exists(folder / "out/checkpoint-2/adapter_model.safetensors"));
}

}  // namespace
}  // namespace longlora::test
