// The command lines that LongLoRA's README gives for its scripts, with the first words swapped and paths that
// exist: every flag is taken.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// A model, data for it and an adapter, as small as the released commands allow.
class ReleasedCommands : public ::testing::Test {
 protected:
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

TEST_F(ReleasedCommands, FineTuneMergeAndEvaluateLoraPlus) {
  const std::string base = data("stories260K_hf");
  const Ending trained =
      expect_exit(0, with(fine_tune("True", "lora", "1"), {"--trainable_params", "embed,norm"}));
  EXPECT_THAT(trained.err, HasSubstr("--deepspeed has no effect: this version trains in one process"));
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
