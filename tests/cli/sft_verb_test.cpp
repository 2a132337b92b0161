// `longlora sft` as a user starts it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class SftVerb : public ::testing::Test {
 public:
  SftVerb() {
    write("data.json", R"([{"instruction": "Tell me a story.", "output": "Once upon a time."},
                           {"instruction": "Go on.", "input": "There was a dog.", "output": "He ran."},
                           {"messages": [{"role": "user", "content": "Hi"},
                                         {"role": "assistant", "content": "Hello"},
                                         {"role": "user", "content": "Bye"},
                                         {"role": "assistant", "content": "So long"}]}])");
  }

  void write(const std::string& name, const std::string& text) { write_file_atomic(folder / name, text); }
  Words sft(const std::string& data, const Words& more) const {
    return with({"sft", "--model_name_or_path", test::data("stories260K_hf"), "--model_max_length", "1024",
                 "--data_path", folder / data},
                more);
  }

  TemporaryDirectory folder;
};

TEST_F(SftVerb, TakesTheReleasedCommand) {
  const Ending ending = expect_exit(0, {"sft",
                                        "--model_name_or_path",
                                        test::data("stories260K_hf"),
                                        "--bf16",
                                        "True",
                                        "--output_dir",
                                        folder / "out",
                                        "--model_max_length",
                                        "1024",
                                        "--use_flash_attn",
                                        "True",
                                        "--data_path",
                                        folder / "data.json",
                                        "--low_rank_training",
                                        "True",
                                        "--num_train_epochs",
                                        "3",
                                        "--per_device_train_batch_size",
                                        "1",
                                        "--per_device_eval_batch_size",
                                        "2",
                                        "--gradient_accumulation_steps",
                                        "1",
                                        "--evaluation_strategy",
                                        "no",
                                        "--save_strategy",
                                        "steps",
                                        "--save_steps",
                                        "1000",
                                        "--save_total_limit",
                                        "2",
                                        "--learning_rate",
                                        "2e-5",
                                        "--weight_decay",
                                        "0.0",
                                        "--warmup_steps",
                                        "20",
                                        "--lr_scheduler_type",
                                        "constant_with_warmup",
                                        "--logging_steps",
                                        "1",
                                        "--deepspeed",
                                        "ds_configs/stage2.json",
                                        "--tf32",
                                        "True"});
  EXPECT_THAT(ending.err, HasSubstr("training data: 3 of 3 samples, "));
  EXPECT_THAT(ending.err, HasSubstr("window: 1024 tokens from 512, linear rotary scaling by 2"));
  EXPECT_TRUE(fs::exists(folder / "out/adapter_model.safetensors"));
  EXPECT_TRUE(fs::exists(folder / "out/trainable_params.safetensors"));
  EXPECT_EQ(read_json(folder / "out/run.json")["verb"], "sft");
  EXPECT_EQ(read_json(folder / "out/run.json")["options"]["prompt"], "llama2");
}

TEST_F(SftVerb, LearnsItsAnswers) {
  const Ending ending = expect_exit(
      0, sft("data.json", {"--output_dir", folder / "out", "--low_rank_training", "False", "--fp32", "True",
                           "--learning_rate", "3e-3", "--warmup_steps", "2", "--max_steps", "30", "--json",
                           folder / "out.json", "--attention", "full"}));
  EXPECT_LT(read_json(folder / "out.json")["loss"].get<double>(), 0.5) << ending.err;
}

TEST_F(SftVerb, PreviewsWhatIsLearned) {
  const Ending ending = expect_exit(0, sft("data.json", {"--preview", "5"}));
  EXPECT_THAT(ending.out, HasSubstr("[INST]Tell me a story.[/INST]⟦Once upon a time.</s>⟧"));
  EXPECT_THAT(ending.out, HasSubstr("There was a dog. [/INST]⟦He ran.</s>⟧"));
  EXPECT_THAT(ending.out, HasSubstr("⟦Hello</s>⟧<s> [INST]Bye[/INST]⟦So long</s>⟧"));
  EXPECT_THAT(ending.out, HasSubstr("data.json, sample 2: "));
  EXPECT_FALSE(fs::exists(folder / "out"));
  const Ending one = expect_exit(0, sft("data.json", {"--preview", "1", "--prompt", "alpaca"}));
  EXPECT_THAT(one.out, AllOf(HasSubstr("### Response:⟦Once"), Not(HasSubstr("He ran"))));
}

TEST_F(SftVerb, StopsAtBrokenSamplesUnlessTheyAreToBeSkipped) {
  write("broken.jsonl",
        "{\"instruction\": \"Q\", \"output\": \"A\"}\n{\"instruction\": \"Q\"}\n{\"instruction\": \"Q\", "
        "\"output\": \"\xFF\"}\n");
  const Words words = sft("broken.jsonl", {"--output_dir", folder / "out", "--max_steps", "1"});
  const Ending refused = expect_exit(3, words);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("broken.jsonl:2] expected the field \"output\""),
                    HasSubstr("broken.jsonl:3] expected UTF-8"), HasSubstr("--skip_bad_samples")));
  EXPECT_FALSE(fs::exists(folder / "out"));
  const Ending skipped = expect_exit(0, with(words, {"--skip_bad_samples"}));
  EXPECT_THAT(skipped.err, HasSubstr("1 of 3 samples (2 broken left out)"));
}

TEST_F(SftVerb, TrainsAllLinearLayersWithTheVariantsAskedFor) {
  expect_exit(0, sft("data.json", {"--output_dir", folder / "out", "--max_steps", "1",
                                   "--lora_target_modules", "all-linear", "--use_rslora", "True", "--lora_r",
                                   "4", "--loraplus_lr_ratio", "16", "--group_size", "reference-sft"}));
  const Json config = read_json(folder / "out/adapter_config.json");
  EXPECT_EQ(config["use_rslora"], true);
  EXPECT_EQ(config["target_modules"],
            Json({"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}));
  const Json options = read_json(folder / "out/run.json")["options"];
  EXPECT_EQ(options["loraplus_lr_ratio"], 16.0);
  EXPECT_EQ(options["reference_sft_groups"], true);
}

TEST_F(SftVerb, SaysWhatIsWrongWithItsWords) {
  EXPECT_THAT(expect_exit(2, sft("data.json", {"--prompt", "vicuna"})).err, HasSubstr("vicuna"));
  EXPECT_THAT(expect_exit(2, sft("data.json", {"--output_dir", folder / "o", "--group_size", "ten"})).err,
              HasSubstr("[--group_size] expected a number of tokens or reference-sft, got ten"));
  EXPECT_THAT(expect_exit(3, sft("nothing.json", {"--output_dir", folder / "o"})).err,
              HasSubstr("nothing.json] expected a data file"));
}

TEST_F(SftVerb, HonoursSystemPromptsHistoryAndWeights) {
  write("sharegpt.json",
        R"([{"conversations": [{"from": "human", "value": "q1"}, {"from": "gpt", "value": "a1"}],
                             "system": "You are a pirate"}])");
  EXPECT_THAT(expect_exit(0, sft("sharegpt.json", {"--preview", "1"})).out,
              HasSubstr("[INST] <<SYS>>\nYou are a pirate\n<</SYS>> \n\n q1 [/INST]⟦a1</s>⟧"));
  write("history.json", R"([{"instruction": "q2", "input": "i2", "output": "a2", "history": [["q1", "a1"]],
                            "system": "sys"}])");
  EXPECT_THAT(expect_exit(0, sft("history.json", {"--preview", "1"})).out,
              HasSubstr("<<SYS>>\nsys\n<</SYS>> \n\n q1 [/INST]⟦a1</s>⟧<s> [INST] q2\ni2 [/INST]⟦a2</s>⟧"));
  write("weights.jsonl", R"({"messages": [{"role": "user", "content": "q1"},
                             {"role": "assistant", "content": "a1", "weight": 0}, {"role": "user", "content": "q2"},
                             {"role": "assistant", "content": "a2"}], "thinking": "x"})");
  const Ending weights = expect_exit(0, sft("weights.jsonl", {"--preview", "1"}));
  EXPECT_THAT(weights.out, HasSubstr("[INST]q1[/INST]a1</s><s> [INST]q2[/INST]⟦a2</s>⟧"));
  EXPECT_THAT(weights.err, HasSubstr("not read, with the number of samples: thinking (1)"));
}

TEST_F(SftVerb, ReadsTheInstructionsOfOthers) {
  // As LLaMA-Factory, torchtune and litgpt write them; a few samples of each form.
  write("llama_factory.json",
        R"([{"instruction": "a", "input": "", "output": "b", "system": "", "history": []}])");
  write("torchtune.json", R"([{"instruction": "a", "input": "c", "output": "b", "text": "d"}])");
  write("litgpt.json", R"([{"input": "a", "output": "b", "source": "x", "subset": "y"}])");
  write("share_gpt.jsonl",
        R"({"id": "1", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})");
  for (const char* name : {"llama_factory.json", "torchtune.json", "litgpt.json", "share_gpt.jsonl"})
    EXPECT_THAT(expect_exit(0, sft(name, {"--preview", "1"})).out, HasSubstr("⟦b</s>⟧")) << name;
}

}  // namespace
}  // namespace longlora::test
