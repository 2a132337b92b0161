// Every family from GGUF against transformers.
#include "longlora/checkpoint/gguf_checkpoint.h"
#include "longlora/core/error.h"
#include "longlora/model/companion_files.h"
#include "longlora/model/stored_model.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

using ::testing::HasSubstr;

// GGUF has no place for the activation of neox_odd_heads, which is therefore not among them.
constexpr const char* kModels[] = {
    "llama_biases", "llama_head_dim", "llama_llama3",    "mistral",  "mistral_linear",
    "qwen2",        "qwen2_yarn",     "qwen3",           "phi3",     "phi3_longrope",
    "phi3_partial", "neox",           "neox_sequential", "stablelm", "stablelm_parallel"};

std::filesystem::path gguf_model(const std::string& name) {
  return test::data_path("gguf") / (name + ".gguf");
}

TEST(GgufModels, HaveTheLogitsOfTransformersBelowAndBeyondTheWindow) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    const Decoder decoder = load_decoder(gguf_model(name), at::kFloat);
    const auto golden = checkpoint::TensorStore::open_file(family_model(name) / "golden.safetensors");
    const at::Tensor ids = golden.load("ids"), below = golden.load("below.logits");
    EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 2e-5);
    EXPECT_CLOSE(logits_of(decoder, ids.slice(1, 0, below.size(1))), below, 2e-5);
  }
}

TEST(GgufModels, HaveTheWindowsOfTheirHuggingFaceForm) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    const ModelConfig ours = open_stored_model(gguf_model(name)).config,
                      theirs = open_stored_model(family_model(name)).config;
    EXPECT_EQ(ours.architecture, theirs.architecture);
    EXPECT_EQ(ours.context_window(), theirs.context_window());
    EXPECT_EQ(ours.layer_windows, theirs.layer_windows);
    EXPECT_EQ(ours.rotary_dims(), theirs.rotary_dims());
    EXPECT_EQ(ours.norm_eps, theirs.norm_eps);
    EXPECT_EQ(ours.tie_word_embeddings, theirs.tie_word_embeddings);
  }
}

TEST(GgufModels, BringTheirTokenizerAndTheEndsOfTexts) {
  const test::TemporaryDirectory folder;
  copy_companion_files({.model = test::data_path("gguf/tokenizers/gpt2.gguf")}, folder.path());
  EXPECT_EQ(folder.names(),
            (std::vector<std::string>{"generation_config.json", "tokenizer.json", "tokenizer_config.json"}));
  const Json settings = read_json(folder / "generation_config.json");
  EXPECT_EQ(settings["eos_token_id"], 0);
}

}  // namespace
}  // namespace longlora::model
