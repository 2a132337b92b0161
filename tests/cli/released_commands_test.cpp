// The command lines that LongLoRA's README gives for its scripts, with the first words swapped and paths that
// exist: every flag is taken.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A model, data for it and an adapter, as small as the released commands allow.
class ReleasedCommands : public ::testing::Test {
 public:
  ReleasedCommands() {
    fs::create_directories(folder / "pg19");
    write_ids(folder / "data.bin", 2048 * 2, 512);
    write_ids(folder / "pg19/test.bin", 2048 + 600, 512);
  }

  Words fine_tune(const std::string& low_rank, const std::string& output,
                  const std::string& more_steps) const {
    return {"fine-tune", "--model_name_or_path", data("stories260K_hf"), "--bf16", "True", "--output_dir",
            folder / output, "--cache_dir", folder / "cache", "--model_max_length", "2048",
            "--use_flash_attn", "True", "--low_rank_training", low_rank, "--num_train_epochs", "1",
            "--per_device_train_batch_size", "1", "--per_device_eval_batch_size", "2",
            "--gradient_accumulation_steps", "2", "--evaluation_strategy", "no", "--save_strategy", "steps",
            "--save_steps", "1000", "--save_total_limit", "2", "--learning_rate", "2e-5", "--weight_decay",
            "0.0", "--warmup_steps", "20", "--lr_scheduler_type", "constant_with_warmup", "--logging_steps",
            "1", "--deepspeed", "ds_configs/stage2.json", "--tf32", "True", "--max_steps", more_steps,
            // The released script reads a data set from the network.
            "--data_path", folder / "data.bin"};
  }

  TemporaryDirectory folder;
};

TEST_F(ReleasedCommands, FineTuneAllWeights) {
  const Ending ending = expect_exit(0, fine_tune("False", "full", "2"));
  EXPECT_THAT(ending.err, HasSubstr("window: 2048 tokens from 512, linear rotary scaling by 4"));
  EXPECT_THAT(ending.err, HasSubstr("(100.00 %)"));
  EXPECT_TRUE(fs::exists(folder / "full/model.safetensors"));
  const Ending evaluated =
      expect_exit(0, {"eval", "--seq_len", "2048", "--context_size", "2048", "--batch_size", "1",
                      "--base_model", folder / "full", "--data_path", folder / "pg19/test.bin"});
  EXPECT_THAT(evaluated.out, HasSubstr("val_perplexity"));
}

TEST_F(ReleasedCommands, FineTuneInTheWordsOfTheTrainer) {
  const Words words = with(fine_tune("True", "out", "4"), {"--model_type",
                                                           "llama",
                                                           "--use_full_attn",
                                                           "True",
                                                           "--do_train",
                                                           "--fp16=False",
                                                           "--warmup-ratio",
                                                           "0.5",
                                                           "--data_seed",
                                                           "7",
                                                           "--train_sampling_strategy",
                                                           "sequential",
                                                           "--report_to",
                                                           "wandb",
                                                           "tensorboard",
                                                           "--no_cuda",
                                                           "--gradient-checkpointing",
                                                           "--no_dataloader_pin_memory",
                                                           "--resume_from_checkpoint",
                                                           "True"});
  // The script's words again: the last warm-up counts, and --warmup_steps 20 would go before the ratio.
  Words without_warmup = words;
  const auto at = std::find(without_warmup.begin(), without_warmup.end(), "--warmup_steps");
  without_warmup.erase(at, at + 2);
  const Ending trained = expect_exit(0, without_warmup);
  for (const char* line :
       {"--do_train has no effect", "--report_to has no effect", "--dataloader_pin_memory has no effect",
        "--tf32 has no effect", "attention: full", "no checkpoint to resume from"})
    EXPECT_THAT(trained.err, HasSubstr(line));
  const Json options = read_json(folder / "out/run.json")["options"];
  EXPECT_EQ(options["warmup_ratio"], 0.5);
  EXPECT_EQ(options["data_seed"], 7);
  EXPECT_EQ(options["shuffle"], false);
  // Two of four updates rise, as with two steps of warm-up.
  EXPECT_THAT(trained.err, HasSubstr("step 2/4"));
  std::ifstream log(folder / "out/train_log.jsonl");
  std::vector<double> rates;
  for (std::string line; std::getline(log, line);) rates.push_back(Json::parse(line)["learning_rate"]);
  EXPECT_THAT(rates, ::testing::ElementsAre(0.0, 1e-5, 2e-5, 2e-5));
  // The path of the newest checkpoint is the same as True, another is refused.
  EXPECT_THAT(expect_exit(2, with(without_warmup, {"--use_mps_device"})).err,
              HasSubstr("[--use_mps_device]"));
  Words resumed = without_warmup;
  *std::find(resumed.begin(), resumed.end(), "--resume_from_checkpoint") =
      "--resume_from_checkpoint=" + (folder / "out/checkpoint-4").string();
  resumed.pop_back();
  EXPECT_THAT(expect_exit(0, resumed).err, HasSubstr("this run is finished after 4 steps"));
  resumed.back() = "--resume_from_checkpoint=" + (folder / "out/checkpoint-3").string();
  EXPECT_THAT(expect_exit(2, resumed).err,
              HasSubstr("[--resume_from_checkpoint] expected True or the newest"));
}

TEST_F(ReleasedCommands, RefusesAModelTypeThatIsNotTheModels) {
  EXPECT_THAT(expect_exit(2, with(fine_tune("True", "out", "1"), {"--model_type", "gpt-neox"})).err,
              HasSubstr("[--model_type] expected what the model's config.json says (llama), got gpt-neox"));
  EXPECT_FALSE(fs::exists(folder / "out/config.json"));
}

TEST_F(ReleasedCommands, EvaluateWithoutAContextSize) {
  const Words words = {"eval",
                       "--seq_len",
                       "2048",
                       "--context_size",
                       "-1",
                       "--base_model",
                       data("stories260K_hf"),
                       "--data_path",
                       folder / "pg19/test.bin",
                       "--max_windows",
                       "1",
                       "--flash_attn",
                       "True",
                       "--cache_dir",
                       "cache",
                       "--progress_bar_fresh_rate",
                       "10"};
  // As the released script: the length that is evaluated is the window that is scaled to.
  EXPECT_THAT(expect_exit(0, words).err, HasSubstr("evaluated up to 2048, linear rotary scaling by 4"));
}

TEST_F(ReleasedCommands, FineTuneMergeAndEvaluateLoraPlus) {
  const std::string base = data("stories260K_hf");
  const Ending trained =
      expect_exit(0, with(fine_tune("True", "lora", "1"), {"--trainable_params", "embed,norm"}));
  EXPECT_THAT(trained.err, HasSubstr("--deepspeed has no effect: a run is one process"));
  expect_exit(0, {"eval", "--seq_len", "2048", "--context_size", "2048", "--batch_size", "1", "--base_model",
                  base, "--peft_model", folder / "lora", "--data_path", folder / "pg19/test.bin"});
  expect_exit(0, {"merge", "--base_model", base, "--peft_model", folder / "lora", "--context_size", "2048",
                  "--save_path", folder / "merged"});
  const Json config = read_json(folder / "merged/config.json");
  EXPECT_EQ(config["rope_scaling"]["type"], "linear");
  EXPECT_EQ(config["rope_scaling"]["factor"], 4.0);
  const Ending asked = expect_exit(0, {"passkey", "--context_size", "2048", "--base_model", folder / "merged",
                                       "--max_tokens", "2048", "--interval", "1000", "--num_tests", "2"});
  EXPECT_THAT(asked.out, HasSubstr("accuracy"));
}

}  // namespace
}  // namespace longlora::test
