// Command lines that are wrong: every message names the flag, and the way out.
#include "longlora/cli/usage_errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "longlora/cli/flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "tests/cli/words.h"

namespace longlora::cli {
namespace {

using test::with;
using test::Words;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// What the program says of a command line that it refuses before it looks at a file.
std::string error_of(const Words& words) {
  CLI::App app;
  app.require_subcommand(1);
  add_verbs(app);
  try {
    parse(app, words);
  } catch (const CLI::ParseError& error) {
    return describe_usage_error(app, error);
  } catch (const UsageError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no usage error: " << testing::PrintToString(words);
  return "";
}

Words tune(const Words& more) {
  return with({"fine-tune", "--model_name_or_path", "nowhere", "--data_path", "nowhere.bin", "--output_dir",
               "out", "--model_max_length", "64"},
              more);
}
Words plan(const Words& more) {
  return with({"plan", "--shape", "15m", "--model_max_length", "64"}, more);
}
Words eval(const Words& more) {
  return with({"eval", "--base_model", "nowhere", "--data_path", "nowhere.bin"}, more);
}

TEST(UsageErrors, NameTheNearestFlagAndOtherVerbsThatHaveIt) {
  EXPECT_THAT(
      error_of(tune({"--lora_rr", "4"})),
      AllOf(StartsWith("[fine-tune] expected a flag of this verb, got --lora_rr; did you mean --lora_r?"),
            HasSubstr("fine-tune --help lists the flags")));
  EXPECT_THAT(error_of(tune({"--lora"})),
              HasSubstr("got --lora; did you mean --lora_r or --lora_target_modules"));
  EXPECT_THAT(error_of(tune({"--top_p", "0.9"})), HasSubstr("got --top_p, a flag of inference"));
  EXPECT_THAT(
      error_of(tune({"--label", "two", "words"})),
      HasSubstr("[fine-tune] expected a flag, got the word words; a value with spaces in it needs quotes"));
}

TEST(UsageErrors, SayWhatAFlagTakes) {
  EXPECT_THAT(
      error_of(tune({"--optim", "adamw_tork"})),
      StartsWith("[--optim] expected one of adamw_torch, adamw_8bit, adamw_torch_fused, adamw_bnb_8bit, got "
                 "adamw_tork; did you mean adamw_torch?"));
  EXPECT_THAT(
      error_of(tune({"--save_strategy", "epoch"})),
      StartsWith("[--save_strategy] expected one of steps, no, got epoch; steps, or no; for epoch give "
                 "--save_steps the updates of an epoch"));
  EXPECT_THAT(error_of(tune({"--lora_r", "4", "--lora_r", "8"})),
              StartsWith("[--lora_r] expected one value, got 2; is it given twice?"));
  EXPECT_THAT(error_of(tune({"--lora_r"})), StartsWith("[--lora_r] expected a value behind it, got none"));
  EXPECT_THAT(error_of({"plan", "--shape", "7b"}),
              StartsWith("[plan] expected --model_max_length, which is required, got none"));
  EXPECT_THAT(error_of(tune({"--use_full_attn", "True", "--attention", "s2"})),
              AllOf(HasSubstr("expected no --"), HasSubstr("leave one of them out")));
  EXPECT_THAT(error_of(tune({"--bf16", "maybe"})), StartsWith("[--bf16] expected True or False, got maybe"));
}

TEST(UsageErrors, RefuseNumbersThatAreNone) {
  for (const char* flag : {"--learning_rate", "--weight_decay", "--max_grad_norm", "--num_train_epochs",
                           "--adam_beta1", "--lora_alpha", "--lora_dropout", "--group_size_ratio",
                           "--warmup_steps", "--warmup_ratio", "--neftune_noise_alpha", "--adam_epsilon"})
    for (const char* value : {"nan", "inf", "x"})
      for (const Words& words : {tune({}), plan({})})
        EXPECT_THAT(error_of(with(words, {std::string(flag) + "=" + value})),
                    AllOf(StartsWith("[" + std::string(flag) + "] expected a"),
                          HasSubstr("got " + std::string(value))));
  for (const char* flag : {"--max_steps", "--lora_r", "--save_steps", "--logging_steps", "--seed",
                           "--data_seed", "--per_device_train_batch_size", "--full_attention_steps"})
    for (const char* value : {"nan", "2.5", "99999999999999999999", "0x10"})
      EXPECT_THAT(error_of(tune({std::string(flag) + "=" + value})),
                  StartsWith("[" + std::string(flag) + "] expected a whole number"));
  EXPECT_THAT(error_of(tune({"--seed", "-1"})),
              StartsWith("[--seed] expected a whole number of at least 0, got -1"));
  for (const char* value : {"nan", "inf", "-inf", "1e30", "-1", "0"})
    for (const Words& words : {tune({}), plan({})})
      EXPECT_THAT(error_of(with(words, {std::string("--memory_budget=") + value})),
                  StartsWith("[--memory_budget] expected GiB of memory, above 0 and at most"));
  for (const char* flag : {"--device_memory", "--device_tflops"})
    for (const char* value : {"nan", "inf", "-80", "0"})
      EXPECT_THAT(error_of(plan({std::string(flag) + "=" + value})),
                  StartsWith("[" + std::string(flag) + "] "));
  for (const char* value : {"0", "-2", "1.5", "nan"})
    EXPECT_THAT(error_of(eval({std::string("--context_size=") + value})),
                StartsWith("[--context_size] expected "));
  for (const char* value : {"0", "-1", "nan", "0,64"})
    EXPECT_THAT(error_of(eval({std::string("--seq_len=") + value})), StartsWith("[--seq_len] expected "));
  for (const char* value : {"nan", "inf", "-1"})
    EXPECT_THAT(error_of({"inference", "--base_model", "nowhere", "--question", "q", "--temperature", value}),
                StartsWith("[--temperature] expected "));
}

// The value of --it after check_numbers.
int64_t whole(const std::string& text) {
  CLI::App app;
  CLI::App& verb = *app.add_subcommand("verb");
  int64_t value = 0;
  verb.add_option("--it", value);
  check_numbers(verb);
  parse(app, {"verb", "--it", text});
  return value;
}

TEST(Numbers, CanBeWrittenAsPythonWritesThem) {
  EXPECT_EQ(whole("500"), 500);
  EXPECT_EQ(whole("500.0"), 500);
  EXPECT_EQ(whole("5e2"), 500);
  EXPECT_EQ(whole("010"), 10);
  EXPECT_EQ(whole("-1"), -1);
  EXPECT_EQ(whole("9223372036854775807"), INT64_MAX);
}

}  // namespace
}  // namespace longlora::cli
