// Flags of a training run beside each other: what is refused, what is told, and what a run says of itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

class TrainingFlags : public ::testing::Test {
 public:
  TrainingFlags() {
    write_file_atomic(folder / "train.bin", std::string(64 * 10 * 2, '\1'));
    write_file_atomic(folder / "heldout.bin", std::string(64 * 2 * 2, '\1'));
  }

  // A run of ten rows, with these flags in place of those that it has otherwise.
  Words tune(const std::string& output, const Words& more) const {
    Words words = {"fine-tune",   "--model_name_or_path", base, "--output_dir", folder / output,
                   "--data_path", folder / "train.bin"};
    for (const Words& usual : {Words{"--model_max_length", "64"}, {"--warmup_steps", "0"}})
      if (std::find(more.begin(), more.end(), usual[0]) == more.end()) words = with(words, usual);
    return with(words, more);
  }
  // What the program says on standard error.
  static std::string said(const Words& words) {
    ::testing::internal::CaptureStderr();
    run(words);
    return ::testing::internal::GetCapturedStderr();
  }
  void expect_refused(const Words& flags, const std::string& message) const {
    EXPECT_THAT(
        [&] {
          run(tune("refused", with({"--max_steps", "1"}, flags)));
        },
        ThrowsMessage<UsageError>(HasSubstr(message)))
        << ::testing::PrintToString(flags);
    EXPECT_FALSE(fs::exists(folder / "refused"));
  }

  const std::string base = data("stories260K_hf");
  TemporaryDirectory folder;
};

TEST_F(TrainingFlags, OfPairsAreRefusedWhereEveryWeightTrains) {
  for (const Words& flag : {Words{"--lora_r", "8"},
                            {"--lora_alpha", "16"},
                            {"--lora_target_modules", "q_proj"},
                            {"--lora_dropout", "0.1"},
                            {"--use_dora", "True"},
                            {"--use_rslora", "True"},
                            {"--loraplus_lr_ratio", "16"},
                            {"--trainable_params", "embed,norm"}})
    expect_refused(with(flag, {"--low_rank_training", "False"}), flag[0]);
  // What says the same as full training does is no contradiction.
  run(tune("full", {"--max_steps", "1", "--low_rank_training", "False", "--use_dora", "False",
                    "--trainable_params", "none", "--loraplus_lr_ratio", "1"}));
}

TEST_F(TrainingFlags, OfSparseAttentionAreRefusedWithFullAttention) {
  for (const Words& flag :
       {Words{"--group_size", "16"}, {"--group_size_ratio", "0.5"}, {"--full_attention_steps", "1"}})
    expect_refused(with(flag, {"--attention", "full"}), flag[0]);
  expect_refused({"--group_size", "16", "--group_size_ratio", "0.5"}, "both say the size of a group");
}

TEST_F(TrainingFlags, ThatContradictEachOtherAreRefused) {
  expect_refused({"--bf16", "True", "--fp32", "True"}, "--fp32 and --bf16");
  expect_refused({"--bf16", "False", "--fp32", "False"}, "--bf16 False and --fp32 False");
  expect_refused({"--save_strategy", "no", "--save_steps", "5"},
                 "--save_steps contradicts --save_strategy no");
  expect_refused({"--resume", "True", "--overwrite_output_dir", "True"}, "--resume goes on with what");
  const std::string heldout = folder / "heldout.bin";
  expect_refused({"--eval_data_path", heldout, "--evaluation_strategy", "no", "--eval_steps", "5"},
                 "--eval_steps contradicts");
  expect_refused({"--evaluation_strategy", "steps"}, "--evaluation_strategy steps needs --eval_data_path");
  expect_refused({"--eval_steps", "5"}, "--eval_steps needs --eval_data_path");
  expect_refused({"--trainable_params", "none,embed"}, "expected none or parts of names");
  expect_refused({"--quantize_block", "128"}, "--quantize_block needs --quantize nf4");
  expect_refused({"--double_quant", "True"}, "--double_quant needs --quantize nf4");
}

TEST_F(TrainingFlags, AllProblemsAreToldAtOnce) {
  EXPECT_THAT(
      [&] {
        run(tune("x", {"--attention", "full", "--group_size", "8", "--low_rank_training", "False", "--lora_r",
                       "4", "--max_grad_norm", "-1"}));
      },
      ThrowsMessage<UsageError>(
          AllOf(HasSubstr("--group_size"), HasSubstr("--lora_r"), HasSubstr("--max_grad_norm"))));
}

TEST_F(TrainingFlags, OfAnotherShapeThanTheAdaptersAreRefused) {
  run(tune("first",
           {"--max_steps", "1", "--lora_r", "4", "--lora_alpha", "8", "--trainable_params", "none"}));
  const Words go_on = {"--peft_model", folder / "first"};
  for (const Words& flag : {Words{"--lora_r", "16"},
                            {"--lora_alpha", "64"},
                            {"--lora_target_modules", "all-linear"},
                            {"--lora_target_modules", "q_proj,v_proj"},
                            {"--use_dora", "True"},
                            {"--use_rslora", "True"}})
    expect_refused(with(flag, go_on), flag[0]);
  expect_refused(with({"--lora_r", "16"}, go_on), "--lora_r 16: the adapter has 4");
  run(tune("second",
           with(go_on, {"--max_steps", "1", "--lora_r", "4", "--lora_alpha", "8", "--lora_target_modules",
                        "o_proj,k_proj,q_proj,v_proj", "--use_dora", "False", "--lora_dropout", "0.1"})));
  EXPECT_EQ(read_json(folder / "second/adapter_config.json")["r"], 4);
  EXPECT_EQ(read_json(folder / "second/adapter_config.json")["lora_dropout"], 0.1);
}

TEST_F(TrainingFlags, ThatChangeNothingAreTold) {
  const std::string log =
      said(tune("out", {"--max_steps", "1", "--num_train_epochs", "3", "--per_device_eval_batch_size", "2",
                        "--save_strategy", "no", "--save_total_limit", "1", "--text_field", "story",
                        "--model_max_length", "64", "--rope_scaling", "yarn"}));
  EXPECT_THAT(log, HasSubstr("--num_train_epochs changes nothing: --max_steps decides"));
  EXPECT_THAT(log, HasSubstr("--per_device_eval_batch_size changes nothing without --eval_data_path"));
  EXPECT_THAT(log, HasSubstr("--save_total_limit counts the checkpoints of signals and of the end alone"));
  EXPECT_THAT(log, HasSubstr("--text_field changes nothing"));
  EXPECT_THAT(
      log, HasSubstr("--rope_scaling yarn changes nothing: 64 tokens lie within the model's window of 512"));
}

TEST_F(TrainingFlags, HeldOutDataThatIsGivenIsEvaluated) {
  const Words heldout = {"--max_steps", "1", "--eval_data_path", folder / "heldout.bin"};
  const std::string log = said(tune("used", heldout));
  EXPECT_THAT(log, AllOf(HasSubstr("--eval_data_path is evaluated every 500 steps and at the end"),
                         HasSubstr("held-out loss")));
  EXPECT_EQ(read_json(folder / "used/run.json")["options"]["eval_steps"], 500);
  EXPECT_THAT(said(tune("unused", with(heldout, {"--evaluation_strategy", "no"}))),
              AllOf(HasSubstr("--eval_data_path is not evaluated"), Not(HasSubstr("held-out loss"))));
}

TEST_F(TrainingFlags, ARunSaysItsRowsStepsAndEpochs) {
  const Words half = {"--gradient_accumulation_steps", "4", "--per_device_train_batch_size", "2"};
  EXPECT_THAT(
      said(tune("a", with(half, {"--num_train_epochs", "3"}))),
      AllOf(HasSubstr("data: 10 rows of 64 tokens; 6 steps of 8 rows, the last of an epoch of 2; 3 epochs\n"),
            HasSubstr("step 6/6  epoch 3.00  loss")));
  EXPECT_THAT(
      said(tune("b", with(half, {"--max_steps", "1", "--model_max_length", "60"}))),
      HasSubstr(
          "data: 10 rows of 60 tokens; 1 steps of 8 rows; 0.8 epochs; 40 tokens at the end fill no row\n"));
  EXPECT_THAT(said(tune("c", {"--per_device_train_batch_size", "16"})),
              HasSubstr("data: 10 rows of 64 tokens; 1 steps of 10 rows; 1 epochs\n"));
  EXPECT_THAT(
      said(tune("d", {"--per_device_train_batch_size", "4", "--dataloader_drop_last", "True"})),
      HasSubstr("2 steps of 4 rows; 1 epochs without 2 rows that fill no batch (--dataloader_drop_last)\n"));
}

TEST_F(TrainingFlags, ARunThatCannotLearnWarns) {
  const auto log = [&](const std::string& name, const Words& flags) {
    return said(tune(name, with(flags, {"--max_steps", name == "c" ? "3" : "1"})));
  };
  EXPECT_THAT(log("a", {"--learning_rate", "0"}),
              HasSubstr("nothing can be learned: the learning rate is 0 in all 1 steps (--learning_rate 0)"));
  EXPECT_THAT(log("b", {"--warmup_steps", "20"}),
              HasSubstr("the learning rate is 0 in all 1 steps (a warm-up of 20 begins with 0)"));
  EXPECT_THAT(
      log("c", {"--warmup_steps", "4", "--learning_rate", "2e-3"}),
      HasSubstr("all 3 steps lie inside the warm-up of 4: the learning rate reaches 1.00e-03 of 2.00e-03"));
  EXPECT_THAT(log("d", {"--full_attention_steps", "1"}), HasSubstr("attention is never sparse"));
  EXPECT_THAT(log("e", {}), Not(HasSubstr("learning rate is 0")));
  // A constant rate has no warm-up.
  EXPECT_THAT(log("f", {"--lr_scheduler_type", "constant", "--warmup_steps", "20"}),
              Not(HasSubstr("warm-up")));
}

TEST_F(TrainingFlags, NoTrainableParamsArePlainLora) {
  for (const std::string word : {"none", ""}) {
    const std::string name = "plain" + word;
    run(tune(name, {"--max_steps", "1", "--trainable_params", word}));
    EXPECT_TRUE(fs::exists(folder / name / "adapter_model.safetensors"));
    EXPECT_FALSE(fs::exists(folder / name / "trainable_params.safetensors")) << word;
    EXPECT_EQ(read_json(folder / name / "run.json")["options"]["trainable_params"], Json::array());
    run({"get-trainable-weights", "--checkpoint_path", folder / name / "adapter_model.safetensors",
         "--output_dir", folder / (name + "_taken"), "--trainable_params", word});
    EXPECT_TRUE(fs::exists(folder / (name + "_taken/adapter_model.safetensors")));
  }
}

TEST_F(TrainingFlags, WhatAnAdapterHasTrainedStaysWhereItTrainsNoFurther) {
  run(tune("first", {"--max_steps", "2", "--learning_rate", "1e-2"}));
  run(tune("second", {"--max_steps", "2", "--peft_model", folder / "first", "--trainable_params", "none"}));
  EXPECT_EQ(read_file(folder / "second/trainable_params.safetensors"),
            read_file(folder / "first/trainable_params.safetensors"));
  EXPECT_NE(read_file(folder / "second/adapter_model.safetensors"),
            read_file(folder / "first/adapter_model.safetensors"));
}

TEST_F(TrainingFlags, RunJsonHasEveryEffectiveOption) {
  run(tune("out", {"--max_steps", "1", "--memory_budget", "1", "--scratch_dir", folder / "scratch",
                   "--gradient_checkpointing", "true"}));
  const Json options = read_json(folder / "out/run.json")["options"];
  EXPECT_EQ(options["memory_budget_bytes"], 1 << 30);
  EXPECT_EQ(options["scratch_dir"], (folder / "scratch").string());
  EXPECT_EQ(options["gradient_checkpointing"], "true");
  EXPECT_EQ(options["resume"], false);
  EXPECT_EQ(options["attention_backend"], "auto");
  EXPECT_EQ(options["dataloader_drop_last"], false);
  EXPECT_GE(options["threads"], 1);
}

}  // namespace
}  // namespace longlora::test
