#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "longlora/checkpoint/peft_adapter.h"
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

void expect_same(const TensorStore& ours, const TensorStore& theirs) {
  EXPECT_EQ(ours.tensors().size(), theirs.tensors().size());
  for (const auto& [name, info] : theirs.tensors()) {
    ASSERT_TRUE(ours.contains(name)) << name;
    EXPECT_TRUE(ours.load(name).equal(theirs.load(name))) << name;
  }
}

TEST(GetTrainableWeightsVerb, WritesWhatTheReleasedScriptWrites) {
  const test::TemporaryDirectory folder;
  run({"get-trainable-weights", "--checkpoint_path", data("goldens/peft_variants/released_checkpoint"),
       "--trainable_params", "embed,norm", "--output_dir", folder / "out"});
  const std::string golden = data("goldens/peft_variants/released/");
  for (const std::string name : {"adapter_model", "trainable_params"})
    for (const char* extension : {".bin", ".safetensors"})
      expect_same(TensorStore::open_file(folder / ("out/" + name + extension)),
                  TensorStore::open_file(golden + name + ".bin"));
}

TEST(GetTrainableWeightsVerb, ReadsSafetensorsAndShardsAndSingleFiles) {
  const test::TemporaryDirectory folder;
  const std::string checkpoint = data("goldens/peft_variants/released_checkpoint");
  run({"convert", "--input", checkpoint, "--output", folder / "shards", "--max_shard_size", "30KB"});
  EXPECT_TRUE(fs::exists(folder / "shards/model.safetensors.index.json"));
  run({"get-trainable-weights", "--checkpoint_path", folder / "shards", "--format", "bin"});
  run({"get-trainable-weights", "--checkpoint_path", checkpoint + "/pytorch_model.bin", "--format", "bin",
       "--output_dir", folder / "file"});
  for (const std::string place : {"shards", "file"})
    expect_same(TensorStore::open_file(folder / (place + "/trainable_params.bin")),
                TensorStore::open_file(data("goldens/peft_variants/released/trainable_params.bin")));
}

TEST(GetTrainableWeightsVerb, RefusesAPatternThatMatchesNothing) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(
      [&] {
        run({"get-trainable-weights", "--checkpoint_path", data("goldens/peft_variants/released_checkpoint"),
             "--trainable_params", "embed,wte", "--output_dir", folder / "out"});
      },
      ThrowsMessage<UsageError>(HasSubstr("got wte which matches nothing")));
  EXPECT_TRUE(folder.names().empty());
}

TEST(GetTrainableWeightsVerb, TakesAllThatPeftWouldHaveSaved) {
  for (const std::string name : {"saved_embedding", "pair_both", "rows", "saved_norms", "bias_all"}) {
    const test::TemporaryDirectory folder;
    const std::string peft = data("goldens/adapter_parts/" + name);
    const std::string base =
        data("goldens/adapter_parts/bases/" + std::string(name == "bias_all"      ? "biases"
                                                          : name == "saved_norms" ? "untied"
                                                                                  : "tied"));
    run({"get-trainable-weights", "--checkpoint_path", peft + "/checkpoint", "--trainable_params", "q_proj",
         "--output_dir", folder / "out", "--format", "safetensors"});
    fs::remove(folder / "out/trainable_params.safetensors");  // weights of the base: they are frozen
    for (const auto& [adapter, merged] : {std::pair(peft, "a"), std::pair(std::string(folder / "out"), "b")})
      run({"merge", "--base_model", base, "--peft_model", adapter, "--save_path", folder / merged,
           "--lora_only", "True"});
    expect_same(TensorStore::open_model_directory(folder / "b"),
                TensorStore::open_model_directory(folder / "a"));
    EXPECT_EQ(read_json(folder / "b/config.json"), read_json(folder / "a/config.json"));
  }
}

TEST(GetTrainableWeightsVerb, WritesNothingThatMergeWouldRefuse) {
  const test::TemporaryDirectory folder;
  fs::create_directory(folder / "checkpoint");
  fs::copy_file(data("goldens/adapter_parts/saved_norms/adapter_config.json"),
                folder / "checkpoint/adapter_config.json");
  const auto whole =
      TensorStore::open_file(data("goldens/adapter_parts/saved_norms/checkpoint/model.safetensors"));
  checkpoint::NamedTensors half;
  for (const auto& [tensor, info] : whole.tensors())
    if (tensor.find("lora_B") == std::string::npos) half.emplace_back(tensor, whole.load(tensor));
  checkpoint::write_safetensors(folder / "checkpoint/model.safetensors", half);
  EXPECT_THAT(
      [&] {
        run({"get-trainable-weights", "--checkpoint_path", folder / "checkpoint", "--trainable_params",
             "norm", "--output_dir", folder / "out"});
      },
      ThrowsMessage<InputError>(HasSubstr("lora_B.weight\", got no such tensor")));
  EXPECT_FALSE(fs::exists(folder / "out/adapter_model.safetensors"));
}

// 40 ids of the small vocabulary of goldens/adapter_parts.
std::string write_ids(const test::TemporaryDirectory& folder) {
  std::string bytes;
  for (int i = 0; i < 40; ++i) bytes += {static_cast<char>(i * 7 % 20), '\0'};
  write_file_atomic(folder / "ids.bin", bytes);
  return folder / "ids.bin";
}

Words continue_adapter(const std::string& name, const test::TemporaryDirectory& folder) {
  return {"fine-tune",
          "--model_name_or_path",
          data("goldens/adapter_parts/bases/tied"),
          "--peft_model",
          data("goldens/adapter_parts/" + name),
          "--low_rank_training",
          "True",
          "--data_path",
          write_ids(folder),
          "--output_dir",
          folder / "run",
          "--model_max_length",
          "8",
          "--max_steps",
          "1",
          "--bf16",
          "False",
          "--device",
          "cpu"};
}

TEST(FineTuneVerb, WritesAContinuedAdapterAsPeftReadsIt) {
  const test::TemporaryDirectory folder;
  run(continue_adapter("saved_embedding", folder));
  const auto adapter = checkpoint::PeftAdapter::open(folder / "run");
  EXPECT_THAT(adapter.config().modules_to_save, testing::ElementsAre("embed_tokens"));
  EXPECT_TRUE(adapter.has_parameter("model.embed_tokens.weight"));
  EXPECT_TRUE(adapter.is_saved_copy("model.embed_tokens.weight"));  // the head did not follow
  EXPECT_TRUE(adapter.has_parameter("model.norm.weight"));
}

TEST(FineTuneVerb, RefusesToContinueWhatItCannotTrain) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT([&] { run(continue_adapter("pair_both", folder)); },
              ThrowsMessage<UsageError>(HasSubstr("a low-rank pair of lm_head.weight")));
}

TEST(ConvertVerb, GoesBetweenSafetensorsAndBinWithoutLoss) {
  const test::TemporaryDirectory folder;
  const std::string model = data("stories260K_hf");
  run({"convert", "--input", model, "--output", folder / "bin", "--format", "bin", "--max_shard_size",
       "300KB"});
  EXPECT_TRUE(fs::exists(folder / "bin/pytorch_model.bin.index.json"));
  EXPECT_FALSE(fs::exists(folder / "bin/model.safetensors"));
  for (const char* file : {"config.json", "tokenizer.model", "tokenizer_config.json"})
    EXPECT_EQ(read_file(folder / (std::string("bin/") + file)), read_file(model + "/" + file)) << file;
  run({"convert", "--input", folder / "bin", "--output", folder / "back"});
  expect_same(TensorStore::open_model_directory(folder / "back"), TensorStore::open_model_directory(model));
  // Both are models that the other verbs take.
  run({"score", "--base_model", folder / "bin", "--ids", "1,403,407", "--json", folder / "bin.json"});
  run({"score", "--base_model", model, "--ids", "1,403,407", "--json", folder / "model.json"});
  EXPECT_EQ(read_json(folder / "bin.json")["logprobs"], read_json(folder / "model.json")["logprobs"]);
}

TEST(ConvertVerb, TakesOneFileByItsName) {
  const test::TemporaryDirectory folder;
  run({"convert", "--input", data("torch_save/made/views.pt"), "--output", folder / "views.safetensors"});
  run({"convert", "--input", folder / "views.safetensors", "--output", folder / "views.bin"});
  expect_same(TensorStore::open_file(folder / "views.bin"),
              TensorStore::open_file(data("torch_save/made/views.pt")));
}

TEST(ConvertVerb, ChangesTheDtypeAndSaysSoInTheConfig) {
  const test::TemporaryDirectory folder;
  run({"convert", "--input", data("stories260K_hf"), "--output", folder / "half", "--dtype", "float16"});
  EXPECT_EQ(read_json(folder / "half/config.json")["torch_dtype"], "float16");
  const TensorStore store = TensorStore::open_model_directory(folder / "half");
  for (const auto& [name, info] : store.tensors()) EXPECT_EQ(info.dtype, at::kHalf) << name;
}

TEST(ConvertVerb, TakesATieOutThatTheFilesContradict) {
  const test::TemporaryDirectory folder;
  fs::copy(data("stories260K_hf"), folder / "tied");
  run({"convert", "--input", folder / "tied", "--output", folder / "same"});
  EXPECT_EQ(read_file(folder / "same/config.json"), read_file(folder / "tied/config.json"));
  const TensorStore store = TensorStore::open_model_directory(folder / "tied");
  checkpoint::NamedTensors tensors;
  for (const auto& [name, info] : store.tensors()) tensors.emplace_back(name, store.load(name));
  const at::Tensor embedding = store.load("model.embed_tokens.weight");
  fs::remove(folder / "tied/model.safetensors");
  for (const bool differs : {false, true}) {
    checkpoint::NamedTensors with_head = tensors;
    with_head.emplace_back("lm_head.weight", differs ? embedding.neg() : embedding.clone());
    checkpoint::write_model_tensors(folder / "tied", with_head);
    run({"convert", "--input", folder / "tied", "--output", folder / "converted", "--overwrite", "True"});
    EXPECT_EQ(read_json(folder / "converted/config.json")["tie_word_embeddings"], !differs);
  }
}

TEST(ConvertVerb, MakesAHuggingFaceFolderOfGguf) {
  const test::TemporaryDirectory folder;
  const std::string model = data("gguf/stories260K.gguf");
  run({"convert", "--input", model, "--output", folder / "hf"});
  EXPECT_EQ(folder.names(), std::vector<std::string>{"hf"});
  for (const char* file :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
    EXPECT_TRUE(fs::exists(folder / (std::string("hf/") + file))) << file;
  EXPECT_EQ(read_json(folder / "hf/config.json")["torch_dtype"], "bfloat16");
  const TensorStore store = TensorStore::open_model_directory(folder / "hf");
  for (const auto& [name, info] : store.tensors()) EXPECT_EQ(info.dtype, at::kBFloat16) << name;
  run({"convert", "--input", model, "--output", folder / "wide", "--dtype", "float32"});
  const std::string text = "Once upon a time, there was a dog.";
  run({"score", "--base_model", folder / "wide", "--text", text, "--json", folder / "wide.json"});
  run({"score", "--base_model", model, "--text", text, "--json", folder / "gguf.json"});
  EXPECT_EQ(read_json(folder / "wide.json")["ids"], read_json(folder / "gguf.json")["ids"]);
  EXPECT_EQ(read_json(folder / "wide.json")["logprobs"], read_json(folder / "gguf.json")["logprobs"]);
}

TEST(ScoreVerb, GivesQuantisedGgufTheLogProbabilitiesOfTransformers) {
  const test::TemporaryDirectory folder;
  const Json golden = read_json(data("gguf/stories260K.json"));
  run({"score", "--base_model", data("gguf/stories260K.gguf"), "--text", golden["text"].get<std::string>(),
       "--json", folder / "score.json"});
  const Json score = read_json(folder / "score.json");
  EXPECT_EQ(score["ids"], golden["ids"]);
  ASSERT_EQ(score["logprobs"].size(), golden["logprobs"].size());
  for (size_t i = 0; i < golden["logprobs"].size(); ++i)
    EXPECT_NEAR(score["logprobs"][i].get<double>(), golden["logprobs"][i].get<double>(), 1e-4) << i;
}

TEST(ConvertVerb, TakesMetasLayout) {
  const test::TemporaryDirectory folder;
  run({"convert", "--input", data("stories260K_meta"), "--output", folder / "hf", "--json",
       folder / "convert.json"});
  EXPECT_EQ(read_json(folder / "convert.json")["tensors"], 47);
  expect_same(TensorStore::open_model_directory(folder / "hf"),
              TensorStore::open_model_directory(data("stories260K_hf")));
  run({"convert", "--input", data("stories260K_meta/consolidated.00.pth"), "--params",
       data("stories260K_meta/params.json"), "--output", folder / "one"});
  run({"score", "--base_model", folder / "one", "--ids", "1,403,407,261", "--json", folder / "ours.json"});
  run({"score", "--base_model", data("stories260K_hf"), "--ids", "1,403,407,261", "--json",
       folder / "theirs.json"});
  EXPECT_EQ(read_json(folder / "ours.json")["logprobs"], read_json(folder / "theirs.json")["logprobs"]);
}

// A short run over the token file of the evaluation goldens.
Words fine_tune(const std::string& model, const std::string& output) {
  return {"fine-tune",
          "--model_name_or_path",
          model,
          "--data_path",
          data("goldens/evaluation/stories.bin"),
          "--model_max_length",
          "64",
          "--max_steps",
          "2",
          "--fp32",
          "True",
          "--learning_rate",
          "1e-3",
          "--output_dir",
          output};
}

TEST(MetasLayout, IsABaseModelAsItsConversionIs) {
  const test::TemporaryDirectory folder;
  const fs::path meta = folder / "meta", converted = folder / "hf";
  fs::create_directory(meta);
  for (const char* file : {"stories260K_meta/consolidated.00.pth", "stories260K_meta/params.json",
                           "stories260K_hf/tokenizer.model"})
    fs::copy_file(data(file), meta / fs::path(file).filename());
  run({"convert", "--input", meta, "--output", converted});
  for (const fs::path& name : {meta, converted}) {
    const std::string end = "_of_" + name.filename().string();
    run({"score", "--base_model", name, "--text", "Once upon a time", "--json", folder / ("score" + end)});
    run(fine_tune(name, folder / ("run" + end)));
    run({"merge", "--base_model", name, "--peft_model", folder / ("run" + end), "--save_path",
         folder / ("merged" + end), "--max_shard_size", "200KB"});
    run({"plan", "--model_name_or_path", name, "--model_max_length", "64", "--measure", "False", "--json",
         folder / ("plan" + end)});
    run({"get-trainable-weights", "--checkpoint_path", name, "--output_dir", folder / ("trained" + end)});
  }
  for (const char* key : {"ids", "logprobs"})
    EXPECT_EQ(read_json(folder / "score_of_meta")[key], read_json(folder / "score_of_hf")[key]);
  for (const char* file : {"adapter_model.safetensors", "trainable_params.safetensors"})
    EXPECT_EQ(read_file(fs::path(folder / "run_of_meta") / file),
              read_file(fs::path(folder / "run_of_hf") / file))
        << file;
  expect_same(TensorStore::open_model_directory(folder / "merged_of_meta"),
              TensorStore::open_model_directory(folder / "merged_of_hf"));
  expect_same(TensorStore::open_file(folder / "trained_of_meta/trainable_params.bin"),
              TensorStore::open_file(folder / "trained_of_hf/trainable_params.bin"));
  EXPECT_TRUE(fs::exists(folder / "merged_of_meta/tokenizer.model"));
  EXPECT_EQ(read_json(folder / "merged_of_meta/config.json"), read_json(folder / "merged_of_hf/config.json"));
  EXPECT_EQ(read_json(folder / "plan_of_meta")["parameters"], read_json(folder / "plan_of_hf")["parameters"]);
}

TEST(ConvertVerb, LeavesWhatIsThereAlone) {
  const test::TemporaryDirectory folder;
  const std::string file = data("torch_save/made/bare.pt");
  run({"convert", "--input", file, "--output", folder / "x.safetensors"});
  EXPECT_THAT(
      [&] {
        run({"convert", "--input", file, "--output", folder / "x.safetensors"});
      },
      ThrowsMessage<UsageError>(HasSubstr("add --overwrite True")));
  run({"convert", "--input", file, "--output", folder / "x.safetensors", "--overwrite", "True"});
  EXPECT_THAT(
      [&] {
        run({"convert", "--input", folder / "x.safetensors", "--output", folder / "x.safetensors",
             "--overwrite"});
      },
      ThrowsMessage<UsageError>(HasSubstr("one that is --input")));
  EXPECT_THAT(
      [&] {
        run({"convert", "--input", data("torch_save/made/refused_system.pt"), "--output", folder / "y"});
      },
      ThrowsMessage<InputError>(HasSubstr("posix.system")));
}

TEST(MergeVerb, MergesTheReleasedPairIntoShards) {
  const test::TemporaryDirectory folder;
  run({"merge", "--base_model", data("goldens/tiny_models/gqa_untied"), "--peft_model",
       data("goldens/peft_variants/released"), "--save_path", folder / "merged", "--dtype", "float16",
       "--max_shard_size", "20KB", "--context_size", "256", "--json", folder / "merge.json"});
  EXPECT_EQ(read_json(folder / "merge.json")["dtype"], "float16");
  EXPECT_TRUE(fs::exists(folder / "merged/model.safetensors.index.json"));
  const Json config = read_json(folder / "merged/config.json");
  EXPECT_EQ(config["vocab_size"], 97);
  EXPECT_EQ(config["torch_dtype"], "float16");
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "linear");
  EXPECT_EQ(TensorStore::open_model_directory(folder / "merged").info("lm_head.weight").shape[0], 97);
}

TEST(MergeVerb, AsksForTheTrainedParameters) {
  const test::TemporaryDirectory folder;
  const Words words = {"merge",
                       "--base_model",
                       data("goldens/tiny_models/gqa_untied"),
                       "--peft_model",
                       data("goldens/peft_variants/rslora_patterns"),
                       "--save_path",
                       folder / "merged"};
  EXPECT_THAT([&] { run(words); }, ThrowsMessage<InputError>(HasSubstr("trainable_params.bin")));
  Words lora_only = words;
  lora_only.insert(lora_only.end(), {"--lora_only", "True"});
  run(lora_only);
  EXPECT_TRUE(fs::exists(folder / "merged/model.safetensors"));
  EXPECT_THAT(
      [&] {
        run({"merge", "--base_model", "x", "--peft_model", data("goldens/peft_variants/released"),
             "--save_path", folder / "other", "--max_shard_size", "big"});
      },
      ThrowsMessage<UsageError>(HasSubstr("[--max_shard_size]")));
}

}  // namespace
}  // namespace longlora::cli
