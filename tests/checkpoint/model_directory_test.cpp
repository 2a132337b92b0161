// Weights in the containers in which training programs and downloads leave them.
#include <ATen/ATen.h>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/checkpoint/wrapped_names.h"
#include "longlora/core/json.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const NamedTensors& model() {
  static const NamedTensors tensors = {{"lm_head.weight", at::full({3, 2}, 1.0)},
                                       {"model.embed_tokens.weight", at::full({3, 2}, 2.0)},
                                       {"model.layers.0.input_layernorm.weight", at::full({2}, 3.0)},
                                       {"model.norm.weight", at::full({2}, 4.0)}};
  return tensors;
}

// One file in torch.save's form: the model under `above`, and strangers beside it.
void write_torch(const fs::path& path, const std::string& above, NamedTensors strangers = {}) {
  for (const auto& [name, tensor] : model()) strangers.emplace_back(above + name, tensor);
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : strangers)
    specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  write_tensor_file(path, TensorFormat::kTorch, specs, [&](const TensorSpec& spec) {
    for (const auto& [name, tensor] : strangers)
      if (name == spec.name) return tensor;
    return at::Tensor();
  });
}

void expect_the_model(const TensorStore& store) {
  EXPECT_EQ(store.tensors().size(), model().size());
  for (const auto& [name, tensor] : model()) {
    ASSERT_TRUE(store.contains(name)) << name;
    EXPECT_TRUE(store.load(name).equal(tensor)) << name;
  }
}

TEST(ModelDirectory, IsReadBelowTheKeysOfATrainingState) {
  const NamedTensors optimizer = {{"optimizer.state.0.exp_avg", at::zeros({2})}, {"epoch", at::zeros({})}};
  for (const char* above :
       {"", "state_dict.", "model.", "module.", "state_dict.model.", "module.module.", "_orig_mod.",
        "model._orig_mod.", "model_state_dict.", "state_dict._forward_module.module."}) {
    SCOPED_TRACE(above);
    TemporaryDirectory folder;
    const bool is_whole = std::string(above).empty() || std::string(above) == "_orig_mod." ||
                          std::string(above).starts_with("module.");
    write_torch(folder / "pytorch_model.bin", above, is_whole ? NamedTensors() : optimizer);
    expect_the_model(TensorStore::open_model_directory(folder.path()));
    expect_the_model(TensorStore::open_checkpoint(folder / "pytorch_model.bin"));
  }
}

TEST(ModelDirectory, IsReadWhereTheFileIsAFolder) {
  TemporaryDirectory folder;
  for (const char* name : {"pytorch_model.bin", "model.safetensors"}) {
    fs::create_directory(folder / name);
    std::vector<TensorSpec> specs;
    for (const auto& [tensor, value] : model()) specs.push_back({tensor, at::kFloat, value.sizes().vec()});
    ModelFileOptions options;
    options.format =
        name == std::string("pytorch_model.bin") ? TensorFormat::kTorch : TensorFormat::kSafetensors;
    options.max_shard_bytes = 32;
    write_model_files(
        folder / name, specs,
        [&](const TensorSpec& spec) {
          for (const auto& [tensor, value] : model())
            if (tensor == spec.name) return value;
          return at::Tensor();
        },
        options);
    expect_the_model(TensorStore::open_model_directory(folder.path()));
    expect_the_model(TensorStore::open_file(folder / name));
    fs::rename(folder / name, folder / "done");
    fs::remove_all(folder / "done");
  }
}

TEST(ModelDirectory, RefusesTwoModelsInOneFile) {
  TemporaryDirectory folder;
  NamedTensors other;
  for (const auto& [name, tensor] : model()) other.emplace_back("ema." + name, tensor);
  write_torch(folder / "pytorch_model.bin", "state_dict.", other);
  EXPECT_THAT(input_error_of([&] { TensorStore::open_model_directory(folder.path()); }),
              AllOf(HasSubstr("\"ema.\""), HasSubstr("\"state_dict.\"")));
  // By itself it is a file of tensors like any other.
  EXPECT_EQ(TensorStore::open_file(folder / "pytorch_model.bin").tensors().size(), 2 * model().size());
}

TEST(WrappedNames, LoseTheirWrappersAnywhere) {
  EXPECT_EQ(without_wrappers("_orig_mod.model.layers.0._checkpoint_wrapped_module.self_attn.q_proj.weight"),
            "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(without_wrappers("module._fsdp_wrapped_module.model._fsdp_wrapped_module.norm.weight"),
            "model.norm.weight");
  EXPECT_EQ(without_wrappers("model.layers.0.module.mlp.up_proj.weight"),
            "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(without_wrappers("model.my_orig_mod.weight"), "model.my_orig_mod.weight");
}

TEST(WrappedNames, OfAModelSavedWithoutItsHeadGetTheFirstPartBack) {
  const auto names = unwrapped_names(
      {"embed_tokens.weight", "layers.0.input_layernorm.weight", "norm.weight", "lm_head.weight"}, "x");
  std::vector<std::string> clean;
  for (const auto& [name, stored] : names) clean.push_back(name);
  EXPECT_THAT(clean, ElementsAre("lm_head.weight", "model.embed_tokens.weight",
                                 "model.layers.0.input_layernorm.weight", "model.norm.weight"));
}

TEST(WrappedNames, OfAHeadBelowTheRootOfTheModelIsTheHeads) {
  const auto names = unwrapped_names({"model.embed_tokens.weight", "model.lm_head.weight"}, "x");
  EXPECT_EQ(names.at("lm_head.weight"), "model.lm_head.weight");
  EXPECT_EQ(names.count("model.lm_head.weight"), 0u);
}

TEST(WrappedNames, OfTheHeadOfGptNeoXAreThoseOfFiles) {
  const auto names = unwrapped_names({"module.gpt_neox.embed_in.weight", "module.lm_head.weight"}, "x");
  EXPECT_EQ(names.count("embed_out.weight"), 1u);
  EXPECT_EQ(names.count("lm_head.weight"), 0u);
  EXPECT_EQ(unwrapped_names({"model.embed_tokens.weight", "lm_head.weight"}, "x").count("lm_head.weight"),
            1u);
}

TEST(WrappedNames, ThatBecomeOneAreRefused) {
  EXPECT_THAT(input_error_of([] {
                unwrapped_names({"norm.weight", "module.norm.weight"}, "x");
              }),
              HasSubstr("got \"norm.weight\" and \"module.norm.weight\""));
}

TEST(TensorStore, SaysWhatLiesThereInsteadOfWeights) {
  TemporaryDirectory folder;
  const auto message = [&](const std::string& name, const std::string& bytes) {
    write_bytes(folder / name, bytes);
    return input_error_of([&] { TensorStore::open_file(folder / name); });
  };
  for (const char* name : {"model.safetensors", "pytorch_model.bin", "adapter_model.safetensors"}) {
    SCOPED_TRACE(name);
    EXPECT_THAT(message(name, "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n"),
                AllOf(HasSubstr(name), HasSubstr("Git LFS pointer"), HasSubstr("git lfs pull")));
    EXPECT_THAT(message(name, "<!doctype html>\n<html></html>"), HasSubstr("HTML page"));
    EXPECT_THAT(message(name, "<?xml version='1.0'?><Error/>"), HasSubstr("XML"));
    EXPECT_THAT(message(name, R"({"error": "Repository not found"})"), HasSubstr("Repository not found"));
    EXPECT_THAT(message(name, ""), HasSubstr("empty file"));
    EXPECT_THAT(message(name, std::string("GGUF\x03\0\0\0\0\0\0\0", 12)), HasSubstr("GGUF"));
  }
}

TEST(ModelDirectory, SaysWhatAFolderWithoutWeightsIs) {
  const auto message = [](const std::vector<std::string>& files) {
    TemporaryDirectory folder;
    for (const std::string& name : files) write_bytes(folder / name, "x");
    return input_error_of([&] { TensorStore::open_model_directory(folder.path()); });
  };
  EXPECT_THAT(message({"adapter_config.json", "adapter_model.bin"}),
              HasSubstr("got an adapter; give it with --peft_model"));
  EXPECT_THAT(message({"zero_to_fp32.py", "latest"}), HasSubstr("zero_to_fp32.py . pytorch_model.bin"));
  EXPECT_THAT(message({"llama.Q4_K_M.gguf"}), HasSubstr("Q4_K_M.gguf] expected the magic number"));
  EXPECT_THAT(message({"model-00001-of-00002.safetensors"}), HasSubstr("index"));
  EXPECT_THAT(message({"tf_model.h5"}), HasSubstr("TensorFlow"));
  EXPECT_THAT(message({}), HasSubstr("got none of them"));
}

TEST(TensorStore, NamesQuantisedWeightsByTheirTensors) {
  TemporaryDirectory folder;
  const auto message = [&](const NamedTensors& tensors) {
    write_safetensors(folder / "x.safetensors", tensors);
    const TensorStore store = TensorStore::open_file(folder / "x.safetensors");
    return input_error_of([&] { store.load("q.weight", {2}, at::kFloat); });
  };
  const at::Tensor whole = at::zeros({2}, at::kInt);
  EXPECT_THAT(message({{"q.qweight", whole}, {"q.g_idx", whole}}), HasSubstr("quantised by GPTQ"));
  EXPECT_THAT(message({{"q.qweight", whole}, {"q.qzeros", whole}}), HasSubstr("AWQ"));
  EXPECT_THAT(message({{"q.q_weight", whole}}), HasSubstr("EXL2"));
  EXPECT_THAT(message({{"q.weight", whole.to(at::kChar)}, {"q.SCB", whole}}),
              HasSubstr("bitsandbytes (int8)"));
  EXPECT_THAT(
      message({{"q.weight", at::zeros({2}).to(at::kFloat8_e4m3fn)}, {"q.weight_scale_inv", at::ones({1})}}),
      HasSubstr("FP8"));
}

}  // namespace
}  // namespace longlora::checkpoint
