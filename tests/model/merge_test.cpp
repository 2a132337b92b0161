// A base and an adapter as one model: tensor by tensor against the decoder that holds both.
#include "longlora/model/merge.h"

#include "longlora/core/error.h"
#include "longlora/model/adapter.h"
#include "longlora/tensors/dtypes.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using checkpoint::PeftAdapter;
using test::message_of;
using ::testing::HasSubstr;

fs::path variant(const std::string& name) {
  return test::data_path("goldens/peft_variants") / name;
}

// Writes the merged model and gives its logits.
at::Tensor merged_logits(const fs::path& base, const fs::path& adapter_path, const at::Tensor& ids,
                         at::ScalarType dtype = at::ScalarType::Undefined) {
  test::TemporaryDirectory folder;
  const PeftAdapter adapter = PeftAdapter::open(adapter_path);
  MergedModel(base, adapter, {.dtype = dtype}).write(folder.path(), {});
  return logits_of(load_decoder(folder.path(), at::kFloat), ids);
}

TEST(MergedModel, HasTheLogitsOfPeft) {
  for (const fs::path& adapter :
       {test::data_path("goldens/peft_adapter"), variant("rslora_patterns"), variant("regex_patterns"),
        variant("modules_to_save"), variant("released")}) {
    const auto golden = checkpoint::TensorStore::open_file(adapter / "golden.safetensors");
    EXPECT_CLOSE(merged_logits(tiny_model("gqa_untied"), adapter, golden.load("ids")), golden.load("logits"),
                 1e-5);
    // The decoder with its pairs in place says the same.
    const Decoder decoder = load_with_adapter(tiny_model("gqa_untied"), adapter, at::kFloat);
    EXPECT_CLOSE(logits_of(decoder, golden.load("ids")), golden.load("logits"), 1e-5);
  }
}

TEST(MergedModel, OfDoraIsWhatPeftMakes) {
  const fs::path adapter_path = test::data_path("goldens/adapter_variants/dora");
  const auto golden = checkpoint::TensorStore::open_file(adapter_path / "merged.safetensors");
  const at::Tensor ids = golden.load("ids"), logits = golden.load("logits");
  EXPECT_CLOSE(merged_logits(tiny_model("gqa_untied"), adapter_path, ids), logits, 1e-5);
  const PeftAdapter adapter = PeftAdapter::open(adapter_path);
  const MergedModel merged(tiny_model("gqa_untied"), adapter, {.dtype = at::kFloat});
  size_t num_compared = 0;
  for (const checkpoint::TensorSpec& spec : merged.specs()) {
    if (!golden.contains("weight." + spec.name)) continue;
    EXPECT_CLOSE(merged.load(spec), golden.load("weight." + spec.name), 1e-6);
    ++num_compared;
  }
  EXPECT_EQ(num_compared, 2);
  // With its magnitudes in place, with known norms, and merged in memory.
  Decoder decoder = load_with_adapter(tiny_model("gqa_untied"), adapter_path, at::kFloat);
  EXPECT_CLOSE(logits_of(decoder, ids), logits, 1e-5);
  keep_weight_norms(decoder);
  EXPECT_TRUE(decoder.blocks[0].q_proj.lora->weight_norm.defined());
  EXPECT_CLOSE(logits_of(decoder, ids), logits, 1e-5);
  merge_lora(decoder);
  EXPECT_CLOSE(logits_of(decoder, ids), logits, 1e-5);
}

TEST(MergedModel, OfAnAdapterTrainedInNf4IsWhatPeftMakesOfTheFullPrecisionBase) {
  const fs::path folder = test::data_path("goldens/nf4_adapter");
  const auto golden = checkpoint::TensorStore::open_file(folder / "golden.safetensors");
  EXPECT_CLOSE(merged_logits(folder / "base", folder / "adapter", golden.load("ids"), at::kFloat),
               golden.load("logits"), 1e-4);
  const PeftAdapter adapter = PeftAdapter::open(folder / "adapter");
  EXPECT_EQ(adapter.parameters().size(), 6);  // the embedding and five norms
  const MergedModel merged(folder / "base", adapter, {.dtype = at::kFloat});
  size_t num_compared = 0;
  for (const checkpoint::TensorSpec& spec : merged.specs()) {
    if (!golden.contains("weight." + spec.name)) continue;
    EXPECT_CLOSE(merged.load(spec), golden.load("weight." + spec.name), 1e-6);
    ++num_compared;
  }
  EXPECT_EQ(num_compared, 2);
}

TEST(MergedModel, GrowsTheHeadByTheMeanWhereTheAdapterHasMoreRows) {
  test::TemporaryDirectory folder;
  const PeftAdapter adapter = PeftAdapter::open(variant("released"));
  MergedModel merged(tiny_model("gqa_untied"), adapter, {.dtype = at::kFloat});
  EXPECT_EQ(merged.config().vocab_size, 97);
  merged.write(folder.path(), {});
  EXPECT_EQ(read_json(folder / "config.json")["vocab_size"], 97);
  const at::Tensor head = checkpoint::TensorStore::open_model_directory(folder.path()).load("lm_head.weight");
  EXPECT_CLOSE(head[96], head.slice(0, 0, 96).mean(0), 1e-6);
}

TEST(MergedModel, RefusesAnAdapterWithFewerRows) {
  test::TemporaryDirectory folder;
  checkpoint::LoraConfig config;
  config.target_modules = {"q_proj"};
  const std::string q = "model.layers.0.self_attn.q_proj";
  write_peft_adapter(folder.path(), config,
                     {{q + ".lora_A.weight", at::ones({8, 32})}, {q + ".lora_B.weight", at::ones({32, 8})}},
                     {{"model.embed_tokens.weight", at::ones({95, 32})}});
  const PeftAdapter adapter = PeftAdapter::open(folder.path());
  EXPECT_THAT(message_of<InputError>([&] { MergedModel(tiny_model("gqa_untied"), adapter); }),
              HasSubstr("of shape [96, 32] or with more rows, got [95, 32]"));
}

TEST(MergedModel, RefusesModulesThatTheBaseDoesNotHave) {
  const PeftAdapter adapter = PeftAdapter::open(test::data_path("goldens/peft_adapter"));
  EXPECT_THAT(message_of<InputError>([&] { MergedModel(tiny_model("mqa"), adapter); }),
              ::testing::AnyOf(HasSubstr("is this the base"), HasSubstr("which"), HasSubstr("expected")));
}

TEST(MergedModel, KeepsOrChangesTheDtype) {
  const PeftAdapter adapter = PeftAdapter::open(test::data_path("goldens/peft_adapter"));
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    test::TemporaryDirectory folder;
    MergedModel(tiny_model("gqa_untied"), adapter, {.dtype = dtype}).write(folder.path(), {});
    const auto store = checkpoint::TensorStore::open_model_directory(folder.path());
    for (const auto& [name, info] : store.tensors()) EXPECT_EQ(info.dtype, dtype) << name;
    EXPECT_EQ(read_json(folder / "config.json")["torch_dtype"], tensors::dtype_name(dtype));
  }
  EXPECT_EQ(MergedModel(tiny_model("gqa_untied"), adapter).dtype(), at::kFloat);
}

TEST(MergedModel, IsWrittenInShardsOfTheSizeAskedFor) {
  test::TemporaryDirectory folder;
  const PeftAdapter adapter = PeftAdapter::open(variant("released"));
  checkpoint::ModelFileOptions options;
  options.max_shard_bytes = 20000;
  options.format = checkpoint::TensorFormat::kTorch;
  MergedModel(tiny_model("gqa_untied"), adapter, {.dtype = at::kFloat}).write(folder.path(), options);
  EXPECT_TRUE(fs::exists(folder / "pytorch_model.bin.index.json"));
  const auto golden = checkpoint::TensorStore::open_file(variant("released") / "golden.safetensors");
  EXPECT_CLOSE(logits_of(load_decoder(folder.path(), at::kFloat), golden.load("ids")), golden.load("logits"),
               1e-5);
}

}  // namespace
}  // namespace longlora::model
