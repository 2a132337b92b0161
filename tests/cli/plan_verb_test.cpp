#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::cli {
namespace {

using test::run;
using test::Words;
using testing::HasSubstr;
using testing::ThrowsMessage;

// The plan for these words, which it finds without measuring unless they say so.
Json plan_of(Words words) {
  const test::TemporaryDirectory folder;
  words.insert(words.begin(), "plan");
  if (std::find(words.begin(), words.end(), "--measure") == words.end())
    words.insert(words.end(), {"--measure", "False"});
  words.insert(words.end(), {"--json", folder / "plan.json"});
  run(words);
  return read_json(folder / "plan.json");
}

TEST(PlanVerb, PlansAShapeThatIsNowhereOnDisk) {
  const Json plan = plan_of({"--shape", "7b", "--model_max_length", "4096", "--memory_budget", "80"});
  EXPECT_EQ(plan["verb"], "plan");
  // Llama-2 7B and its pairs on q, k, v and o.
  EXPECT_EQ(plan["parameters"].get<int64_t>(), 6738415616 + 32 * 4 * 2 * 8 * 4096);
  EXPECT_EQ(plan["trainable_parameters"].get<int64_t>(), 32000 * 4096 + 65 * 4096 + 32 * 4 * 2 * 8 * 4096);
  EXPECT_EQ(plan["weights_bytes"].get<int64_t>(), 2 * plan["parameters"].get<int64_t>());
  // Gradients of the embedding's rows that a batch can hold.
  EXPECT_EQ(plan["optimizer_bytes"].get<int64_t>(),
            16 * plan["trainable_parameters"].get<int64_t>() - 4LL * (32000 - 4096) * 4096);
  EXPECT_LE(plan["memory_bytes"].get<int64_t>(), int64_t{80} << 30);
  // Four products with every weight but the embedding, and attention.
  EXPECT_GT(plan["model_flops"].get<double>(), 4.0 * 6.6e9 * 4096);
  EXPECT_LT(plan["model_flops"].get<double>(), 4.6 * 6.6e9 * 4096);
  EXPECT_FALSE(plan.contains("tokens_per_second"));
}

TEST(PlanVerb, TakesTargetsAndOptimizerAsTrainingDoes) {
  const auto plan_7b = [](const Words& more) {
    Words words = {"--shape", "7b", "--model_max_length", "4096", "--memory_budget", "80"};
    words.insert(words.end(), more.begin(), more.end());
    return plan_of(words);
  };
  constexpr int64_t kOthers = 32000 * 4096 + 65 * 4096;  // embedding and norms
  const Json all = plan_7b({"--lora_target_modules", "all-linear"});
  EXPECT_EQ(all["trainable_parameters"].get<int64_t>(),
            kOthers + 32 * 8 * (4 * (4096 + 4096) + 3 * (4096 + 11008)));
  const Json some = plan_7b({"--lora_target_modules", R"(.*\.1[0-9]\.self_attn\.(q|v)_proj)"});
  constexpr int64_t kPairs = 10 * 2 * 8 * (4096 + 4096);
  EXPECT_EQ(some["trainable_parameters"].get<int64_t>(), kOthers + kPairs);
  // The embedding's moments stay in 32 bits; of the others two take 2 bytes, and a scale for 256 each.
  const Json in_8_bits =
      plan_7b({"--lora_target_modules", R"(.*\.1[0-9]\.self_attn\.(q|v)_proj)", "--optim", "adamw_8bit"});
  EXPECT_DOUBLE_EQ(in_8_bits["optimizer_bytes"].get<double>(),
                   (12.0 * 32000 + 4.0 * 4096) * 4096 + (8.0 + 2.0 + 8.0 / 256.0) * (65 * 4096 + kPairs));
  const Json dora = plan_7b({"--use_dora", "True"});
  EXPECT_EQ(dora["trainable_parameters"].get<int64_t>(), kOthers + 32 * 4 * (8 * (4096 + 4096) + 4096));
  EXPECT_THAT(
      [&] {
        plan_7b({"--lora_target_modules", "(q_proj"});
      },
      ThrowsMessage<InputError>(HasSubstr("[--lora_target_modules] ")));
  EXPECT_THAT(
      [&] {
        plan_7b({"--lora_target_modules", ".*q_proj", ".*v_proj"});
      },
      ThrowsMessage<UsageError>(HasSubstr("expected names or one regular expression")));
  EXPECT_THAT(
      [&] {
        plan_7b({"--lora_target_modules", "q_projection"});
      },
      ThrowsMessage<UsageError>(HasSubstr("got q_projection")));
}

TEST(PlanVerb, ReadsTheConfigOfADirectoryAndMeasures) {
  const Json plan =
      plan_of({"--model_name_or_path", std::string(LONGLORA_SOURCE_DIR) + "/tests/data/stories260K_hf",
               "--model_max_length", "512", "--attention", "full", "--measure", "True"});
  EXPECT_DOUBLE_EQ(plan["seen_tokens"].get<double>(), 256.5);
  EXPECT_GT(plan["tokens_per_second"].get<double>(), 1.0);
}

TEST(PlanVerb, TakesAssumedRatesForAGpu) {
  const Json plan = plan_of({"--shape", "7b", "--model_max_length", "32768", "--device_memory", "80",
                             "--device_tflops", "312", "--measure", "True"});
  EXPECT_EQ(plan["budget_bytes"].get<int64_t>(), int64_t{64} << 30);
  EXPECT_EQ(plan["matrix_flops_per_second"].get<double>(), 156e12);
}

TEST(PlanVerb, SaysWhatWouldFit) {
  EXPECT_THAT(
      [] {
        plan_of({"--shape", "7b", "--model_max_length", "32768", "--memory_budget", "2"});
      },
      ThrowsMessage<ResourceError>(HasSubstr("tokens per micro-batch would fit")));
}

TEST(PlanVerb, LeavesWeightsAndInputsOnDiskWhereTheBudgetHoldsNeither) {
  const Json roomy = plan_of({"--shape", "7b", "--model_max_length", "4096", "--memory_budget", "30"});
  EXPECT_FALSE(roomy["weights_streamed"].get<bool>());
  EXPECT_EQ(roomy["scratch_bytes"], 0);
  const Json streamed = plan_of({"--shape", "7b", "--model_max_length", "4096", "--memory_budget", "12"});
  EXPECT_TRUE(streamed["weights_streamed"].get<bool>());
  // All matrices of the layers, and the head.
  EXPECT_EQ(streamed["streamed_bytes"].get<int64_t>(),
            2LL * 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 2LL * 32000 * 4096);
  EXPECT_EQ(streamed["inputs_on_disk"], 0);
  EXPECT_LE(streamed["memory_bytes"].get<int64_t>(), int64_t{12} << 30);
  const Json least = plan_of({"--shape", "7b", "--model_max_length", "16384", "--memory_budget", "6"});
  EXPECT_TRUE(least["weights_streamed"].get<bool>());
  EXPECT_GT(least["inputs_on_disk"], 0);
  EXPECT_EQ(least["scratch_bytes"].get<int64_t>(), least["inputs_on_disk"].get<int64_t>() * 16384 * 4096 * 2);
  EXPECT_LE(least["memory_bytes"].get<int64_t>(), int64_t{6} << 30);
}

TEST(PlanVerb, LeavesTrainingStateOnDiskWhereTheBudgetDoesNotHoldIt) {
  const auto lora_in = [](const char* gib) {
    return plan_of({"--shape", "7b-2layers", "--model_max_length", "4096", "--memory_budget", gib});
  };
  const Json roomy = lora_in("4.5");
  EXPECT_EQ(roomy["state_on_disk"], "none");
  EXPECT_EQ(roomy["state_bytes"], 0);
  // The rows of an embedding's gradient that one batch can have, not all 32000.
  EXPECT_LT(roomy["optimizer_bytes"].get<int64_t>(), 32000LL * 4096 * 12 + 4096LL * 4096 * 4 + (16 << 20));
  const Json small = lora_in("1.8");
  EXPECT_EQ(small["state_on_disk"], "embedding");
  EXPECT_EQ(small["state_bytes"].get<int64_t>(), 32000LL * 4096 * 14);
  EXPECT_LE(small["memory_bytes"].get<int64_t>(), int64_t{1} << 31);
  const Json full = plan_of({"--shape", "110m", "--model_max_length", "8192", "--low_rank_training", "False",
                             "--memory_budget", "2.2"});
  EXPECT_EQ(full["state_on_disk"], "all");
  EXPECT_GT(full["state_bytes"].get<int64_t>(), 12LL * 134'000'000);
}

TEST(PlanVerb, TakesEveryFlagOfTraining) {
  CLI::App app;
  add_verbs(app);
  const CLI::App* plan = app.get_subcommand("plan");
  for (const char* verb : {"fine-tune", "sft"})
    for (const CLI::Option* option : app.get_subcommand(verb)->get_options())
      for (const std::string& name : option->get_lnames())
        EXPECT_NE(plan->get_option_no_throw("--" + name), nullptr) << verb << " --" << name;
}

// Whether a run with these options would find out that its frozen weights are converted.
bool converts_weights(const std::string& model, bool only_planned) {
  TrainingArguments arguments;
  arguments.options.model_name_or_path = model;
  arguments.options.model_max_length = 64;
  arguments.options.only_planned = only_planned;
  const train::RunSetup setup = set_up(arguments);
  EXPECT_FALSE(setup.streamable.empty());
  return setup.copies;
}

TEST(PlanVerb, KnowsThatStoredWeightsAreConvertedAsARunDoes) {
  const test::TemporaryDirectory folder;
  for (const char* dtype : {"float16", "bfloat16"}) {
    const std::string model = folder / dtype;
    run({"convert", "--input", test::data("stories260K_hf"), "--output", model, "--dtype", dtype});
    const bool expected = std::string(dtype) == "float16";
    EXPECT_EQ(converts_weights(model, /*only_planned=*/false), expected);
    EXPECT_EQ(converts_weights(model, /*only_planned=*/true), expected);
    // Without the weights the dtype in config.json tells.
    std::filesystem::remove(std::filesystem::path(model) / "model.safetensors");
    EXPECT_EQ(converts_weights(model, /*only_planned=*/true), expected);
  }
}

TEST(PlanVerb, CountsWhatOnlyTrainingUsedToBeToldOf) {
  const auto plan_7b = [](const Words& more) {
    return plan_of(
        test::with({"--shape", "7b", "--model_max_length", "4096", "--memory_budget", "80"}, more));
  };
  const Json plain = plan_7b({});
  // Attention over the whole row in the last steps, noise beside the embeddings.
  EXPECT_GT(plan_7b({"--full_attention_steps", "10"})["program_bytes"], plain["program_bytes"]);
  EXPECT_GT(plan_7b({"--neftune_noise_alpha", "5"})["workspace_bytes"], plain["workspace_bytes"]);
}

TEST(PlanVerb, PlansNoMoreThanIsFreeForAModelThatIsHere) {
  const Json plan = plan_of({"--model_name_or_path", test::data("stories260K_hf"), "--model_max_length",
                             "512", "--memory_budget", "1000000"});
  EXPECT_LT(plan["budget_bytes"].get<double>(), 1e6 * (1 << 30));
}

TEST(PlanVerb, RefusesTheValuesThatTrainingRefuses) {
  const auto expect_refused = [](const Words& more, const std::string& part) {
    EXPECT_THAT(
        [&] {
          plan_of(test::with({"--shape", "15m", "--model_max_length", "64"}, more));
        },
        ThrowsMessage<UsageError>(HasSubstr(part)))
        << more.front();
  };
  expect_refused({"--lora_r", "-4"}, "--lora_r must be positive, got -4");
  expect_refused({"--lora_r", "0"}, "--lora_r must be positive, got 0");
  expect_refused({"--group_size_ratio", "2"}, "--group_size_ratio must be in (0, 1], got 2");
  expect_refused({"--group_size", "1"}, "--group_size must be at least 2, got 1");
  expect_refused({"--max_steps", "-5"}, "--max_steps must be positive");
  expect_refused({"--gradient_accumulation_steps", "0"}, "--gradient_accumulation_steps must be");
  expect_refused(
      {"--per_device_train_batch_size", "1000000000000", "--gradient_accumulation_steps", "1000000"},
      "more than 10^15 tokens");
}

TEST(PlanVerb, RefusesWhatContradictsItself) {
  EXPECT_THAT(
      [] {
        plan_of({"--model_max_length", "4096"});
      },
      ThrowsMessage<UsageError>(HasSubstr("either --model_name_or_path or --shape")));
  EXPECT_THAT(
      [] {
        plan_of({"--shape", "7b", "--model_max_length", "4096", "--device_memory", "80"});
      },
      ThrowsMessage<UsageError>(HasSubstr("--device_tflops together")));
  EXPECT_THAT(
      [] {
        plan_of({"--shape", "7b", "--model_max_length", "0"});
      },
      ThrowsMessage<UsageError>(HasSubstr("at least 2")));
}

}  // namespace
}  // namespace longlora::cli
