// Models in four bits through the verbs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::cli {
namespace {

namespace fs = std::filesystem;
using checkpoint::TensorStore;
using test::data;
using test::run;
using test::Words;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Log-probabilities of some ids, for further words of `score`.
Json logprobs(Words words) {
  const test::TemporaryDirectory folder;
  words.insert(words.begin(), {"score", "--ids", "1,40,13,7,21,60,3", "--json", folder / "score.json"});
  run(words);
  return read_json(folder / "score.json")["logprobs"];
}

TEST(QuantizeVerb, WritesAModelThatTheOtherVerbsTake) {
  const test::TemporaryDirectory folder;
  const std::string base = data("goldens/nf4/base"), quantized = folder / "nf4";
  run({"quantize", "--model_name_or_path", base, "--output_dir", quantized, "--json",
       folder / "report.json"});
  EXPECT_EQ(read_json(folder / "report.json")["quantized_parameters"].get<int64_t>(), 73728);
  EXPECT_LT(read_json(folder / "report.json")["bits_per_quantized_parameter"].get<double>(), 4.3);
  EXPECT_TRUE(fs::exists(fs::path(quantized) / "generation_config.json"));
  const Json expected = logprobs({"--base_model", base, "--quantize", "nf4"});
  EXPECT_EQ(logprobs({"--base_model", quantized}), expected);
  EXPECT_EQ(logprobs({"--base_model", data("goldens/nf4/quantized")}), expected);
  EXPECT_NE(logprobs({"--base_model", base}), expected);
  // Of other blocks, and from several files.
  run({"quantize", "--model_name_or_path", base, "--output_dir", quantized, "--overwrite", "True",
       "--quantize_block", "256", "--double_quant", "False", "--max_shard_size", "20KB"});
  EXPECT_TRUE(fs::exists(fs::path(quantized) / "model.safetensors.index.json"));
  EXPECT_EQ(logprobs({"--base_model", quantized}),
            logprobs({"--base_model", base, "--double_quant", "False", "--quantize_block", "256",
                      "--quantize", "nf4"}));
  run({"convert", "--input", quantized, "--output", folder / "bin", "--format", "bin"});
  EXPECT_EQ(logprobs({"--base_model", folder / "bin"}), logprobs({"--base_model", quantized}));
  EXPECT_THAT(
      [&] {
        run({"convert", "--input", quantized, "--output", folder / "half", "--dtype", "bfloat16"});
      },
      ThrowsMessage<InputError>(HasSubstr("four bits")));
}

TEST(QuantizeVerb, RefusesWhatItCannotDo) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(
      [&] {
        run({"quantize", "--model_name_or_path", data("goldens/nf4/base"), "--output_dir", folder / "out",
             "--quantize_block", "48"});
      },
      ThrowsMessage<UsageError>(HasSubstr("--quantize_block")));
  EXPECT_THAT(
      [&] {
        run({"quantize", "--model_name_or_path", data("goldens/nf4/quantized"), "--output_dir",
             folder / "out"});
      },
      ThrowsMessage<InputError>(HasSubstr("full precision")));
  EXPECT_THAT(
      [&] {
        run({"quantize", "--model_name_or_path", data("goldens/nf4/base"), "--output_dir",
             data("goldens/nf4/quantized")});
      },
      ThrowsMessage<UsageError>(HasSubstr("nothing of that is replaced")));
  EXPECT_TRUE(folder.names().empty());
}

// A run of a few steps in four bits over the token file of the evaluation goldens.
Words fine_tune(const std::string& output, const char* steps) {
  return {"fine-tune",
          "--model_name_or_path",
          data("stories260K_hf"),
          "--data_path",
          data("goldens/evaluation/stories.bin"),
          "--quantize",
          "nf4",
          "--max_steps",
          steps,
          "--warmup_steps",
          "0",
          "--learning_rate",
          "1e-3",
          "--save_steps",
          "2",
          "--output_dir",
          output,
          "--model_max_length",
          "64"};
}

TEST(FineTuneVerb, TrainsOnWeightsInFourBitsAndResumesToTheSameBits) {
  const test::TemporaryDirectory folder;
  run(fine_tune(folder / "whole", "4"));
  Words parts = fine_tune(folder / "parts", "4");
  run(parts);
  fs::remove_all(folder / "parts/checkpoint-4");
  parts.insert(parts.end(), {"--resume", "True"});
  run(parts);
  for (const char* file : {"adapter_model.safetensors", "trainable_params.safetensors"})
    EXPECT_EQ(read_file(folder / (std::string("parts/") + file)),
              read_file(folder / (std::string("whole/") + file)));
  EXPECT_EQ(read_json(folder / "whole/run.json")["options"]["quantize"]["block_size"], 64);
  // Another block size is another run.
  parts.insert(parts.end(), {"--quantize_block", "128"});
  fs::remove_all(folder / "parts/checkpoint-4");
  EXPECT_THAT([&] { run(parts); }, ThrowsMessage<InputError>(HasSubstr("quantize")));
}

TEST(MergeVerb, MergesIntoTheBaseOrIntoWhatFourBitsKept) {
  const test::TemporaryDirectory folder;
  const std::string base = data("stories260K_hf"), adapter = folder / "run";
  run(fine_tune(adapter, "2"));
  const auto merge = [&](const std::string& name, Words words) {
    words.insert(words.begin(),
                 {"merge", "--base_model", base, "--peft_model", adapter, "--save_path", folder / name});
    run(words);
    return logprobs({"--base_model", folder / name});
  };
  const Json full = merge("full", {}), dequantized = merge("dequantized", {"--merge_into", "dequantized"});
  EXPECT_NE(full, dequantized);
  EXPECT_FALSE(read_json(folder / "dequantized/config.json").contains("quantization_config"));
  // What the run computed with.
  const Json as_trained = logprobs({"--base_model", base, "--peft_model", adapter, "--quantize", "nf4"});
  ASSERT_EQ(as_trained.size(), dequantized.size());
  for (size_t i = 0; i < as_trained.size(); ++i)
    EXPECT_NEAR(dequantized[i].get<double>(), as_trained[i].get<double>(), 1e-4);
  EXPECT_THAT(
      [&] {
        merge("no", {"--quantize", "nf4"});
      },
      ThrowsMessage<UsageError>(HasSubstr("--merge_into")));
}

TEST(FineTuneVerb, RefusesFourBitsWhereEveryWeightTrains) {
  const test::TemporaryDirectory folder;
  Words words = fine_tune(folder / "run", "2");
  words.insert(words.end(), {"--low_rank_training", "False"});
  EXPECT_THAT([&] { run(words); }, ThrowsMessage<UsageError>(HasSubstr("--quantize")));
}

TEST(PlanVerb, CountsWeightsInFourBits) {
  const test::TemporaryDirectory folder;
  run({"plan", "--shape", "7b", "--model_max_length", "4096", "--memory_budget", "60", "--measure", "False",
       "--quantize", "nf4", "--json", folder / "plan.json"});
  const Json plan = read_json(folder / "plan.json");
  const double linears = 32.0 * (4.0 * 4096 * 4096 + 3.0 * 4096 * 11008);
  const double rest = plan["parameters"].get<double>() - linears;
  const double bits = 8.0 * (plan["weights_bytes"].get<double>() - 2.0 * rest) / linears;
  EXPECT_GT(bits, 4.12);
  EXPECT_LT(bits, 4.13);
}

}  // namespace
}  // namespace longlora::cli
