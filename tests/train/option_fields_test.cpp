// The lists of options: what they say of each field goes to flags, checks, record and identity alike.
#include "longlora/train/option_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "longlora/core/json.h"
#include "longlora/train/options.h"

namespace longlora::train {
namespace {

using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

// Notes how often flags and keys of the record are named, and what is wrong with a field.
class Census {
 public:
  template <typename Value>
  void add(const std::string& flag, Value&, const std::string& help, const FieldRule& rule = {}) {
    note(flag, help, rule);
  }
  template <typename Value>
  void choice(const std::string& flag, Value& value, const Choices<Value>& choices, const std::string& help,
              const FieldRule& rule = {}) {
    note(flag, help, rule);
    std::set<std::string> names;
    bool is_standard = !rule.shows_default;
    for (const auto& [name, choice] : choices) {
      EXPECT_TRUE(names.insert(name).second) << flag << " " << name;
      is_standard = is_standard || choice == value;
    }
    EXPECT_TRUE(is_standard) << flag << " has no name for its default";
    EXPECT_TRUE(rule.alone == nullptr || names.count(rule.alone)) << flag;
  }
  template <typename Value>
  void record(const std::string& key, const Value&, Kept kept) {
    EXPECT_NE(kept, Kept::kNowhere) << key;
    EXPECT_TRUE(keys.insert(key).second) << key << " is recorded twice";
  }
  template <typename... Got>
  void check(bool, const char* problem, const Got&...) {
    EXPECT_TRUE(problems.insert(problem).second) << problem;
    EXPECT_TRUE(std::string(problem).starts_with("--")) << problem;
  }

  std::set<std::string> flags, keys, problems;

 private:
  void note(const std::string& flag, const std::string& help, const FieldRule& rule) {
    EXPECT_TRUE(flag.starts_with("--")) << flag;
    EXPECT_FALSE(help.empty()) << flag;
    EXPECT_TRUE(flags.insert(flag).second) << flag << " is listed twice";
    if (rule.kept != Kept::kNowhere) {
      EXPECT_TRUE(keys.insert(flag.substr(2)).second) << flag;
    }
  }
};

std::vector<std::string> keys_of(const Json& record) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : record.items()) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

TrainOptions run(bool supervised) {
  TrainOptions options;
  options.model_name_or_path = "base";
  options.data_path = {"data"};
  options.output_dir = "out";
  options.model_max_length = 1024;
  options.supervised = supervised;
  return options;
}

TEST(OptionLists, NameEveryFlagAndEveryKeyOnce) {
  for (const bool supervised : {false, true}) {
    TrainOptions options = run(supervised);
    Census census;
    TrainOptions::list_fields(options, census);
    EXPECT_GT(census.flags.size(), 45u);
    for (const std::string& key : keys_of(options.to_json()))
      EXPECT_TRUE(census.keys.count(key) || key == "threads") << key;
  }
}

// What an older run's checkpoint says of its options is compared by these names.
TEST(OptionLists, KeepTheKeysThatARunIsResumedBy) {
  const std::vector<std::string> of_texts = {"adam_beta1",
                                             "adam_beta2",
                                             "adam_epsilon",
                                             "attention",
                                             "bin_dtype",
                                             "dataloader_drop_last",
                                             "fp32",
                                             "full_attention_steps",
                                             "gradient_accumulation_steps",
                                             "group_size",
                                             "init",
                                             "learning_rate",
                                             "lora_alpha",
                                             "lora_dropout",
                                             "lora_r",
                                             "lora_target_modules",
                                             "loraplus_lr_ratio",
                                             "low_rank_training",
                                             "lr_scheduler_type",
                                             "max_grad_norm",
                                             "model_max_length",
                                             "neftune_noise_alpha",
                                             "optim",
                                             "per_device_train_batch_size",
                                             "quantize",
                                             "rope_scaling",
                                             "seed",
                                             "shuffle",
                                             "text_field",
                                             "trainable_params",
                                             "use_dora",
                                             "use_rslora",
                                             "warmup_steps",
                                             "weight_decay"};
  EXPECT_THAT(keys_of(run(false).identity()), ElementsAreArray(of_texts));
  std::vector<std::string> of_samples = of_texts;
  for (const char* key : {"group_by_length", "packing", "prompt", "reference_sft_groups", "truncate"})
    of_samples.push_back(key);
  std::sort(of_samples.begin(), of_samples.end());
  EXPECT_THAT(keys_of(run(true).identity()), ElementsAreArray(of_samples));
  TrainOptions more = run(false);
  more.data_seed = 7;
  more.warmup_ratio = 0.5;
  EXPECT_EQ(more.identity()["data_seed"], 7);
  EXPECT_EQ(more.identity()["warmup_ratio"], 0.5);
}

TEST(OptionLists, RecordTheIdentityAndWhatMayChangeBesides) {
  for (const bool supervised : {false, true}) {
    const Json record = run(supervised).to_json(), identity = run(supervised).identity();
    for (const auto& [key, value] : identity.items()) EXPECT_EQ(record[key], value) << key;
    std::vector<std::string> others = keys_of(record);
    std::erase_if(others, [&](const std::string& key) { return identity.contains(key); });
    std::vector<std::string> expected = {"attention_backend",
                                         "config",
                                         "data_path",
                                         "device",
                                         "eval_data_path",
                                         "eval_steps",
                                         "gradient_checkpointing",
                                         "logging_steps",
                                         "max_steps",
                                         "memory_budget_bytes",
                                         "model_name_or_path",
                                         "num_train_epochs",
                                         "output_dir",
                                         "overwrite_output_dir",
                                         "peft_model",
                                         "per_device_eval_batch_size",
                                         "resume",
                                         "save_steps",
                                         "save_total_limit",
                                         "scratch_dir",
                                         "threads",
                                         "tokenizer"};
    if (supervised) expected.insert(expected.end(), {"cache_tokens", "skip_bad_samples"});
    std::sort(expected.begin(), expected.end());
    EXPECT_THAT(others, ElementsAreArray(expected));
  }
}

TEST(OptionLists, RecordChoicesByTheirNames) {
  TrainOptions options = run(true);
  options.rope_scaling = model::RopeType::kYarn;
  options.schedule = ScheduleType::kCosine;
  options.adamw.moments_in_8_bits = true;
  options.recompute = Recompute::kNever;
  options.truncation = data::Truncation::kDrop;
  options.quantize = ops::Nf4Options();
  options.lora.target_pattern = ".*q_proj";
  options.init_random = true;
  options.attention_init = model::AttentionInit::kMimetic;
  const Json record = options.to_json();
  EXPECT_EQ(record["rope_scaling"], "yarn");
  EXPECT_EQ(record["lr_scheduler_type"], "cosine");
  EXPECT_EQ(record["optim"], "adamw_8bit");
  EXPECT_EQ(record["gradient_checkpointing"], "false");
  EXPECT_EQ(record["truncate"], "drop");
  EXPECT_EQ(record["quantize"].dump(), R"({"type":"nf4","block_size":64,"double_quant":true})");
  EXPECT_EQ(record["lora_target_modules"], ".*q_proj");
  EXPECT_EQ(record["init"], "random, mimetic attention");
  EXPECT_EQ(record["scratch_dir"], "out");
  EXPECT_EQ(record["attention"], "s2");
  EXPECT_EQ(record["group_size"], 256);
}

TEST(OptionLists, FindNoProblemInARunThatSaysWhatIsNeeded) {
  EXPECT_THAT(run(false).problems(), IsEmpty());
  EXPECT_THAT(run(true).problems(), IsEmpty());
}

}  // namespace
}  // namespace longlora::train
