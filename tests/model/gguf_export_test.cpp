// Models of every family as GGUF files, read back.
#include "longlora/model/gguf_export.h"

#include "longlora/checkpoint/gguf_checkpoint.h"
#include "longlora/core/error.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/model/stored_model.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using gguf::BlockType;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Those that llama.cpp has no place for, and what the message names.
const std::map<std::string, std::string> kRefused = {
    {"llama_gelu", "activation"},   {"llama_dynamic", "dynamic"},       {"qwen2_window", "sliding window"},
    {"qwen3_biases", "biases"},     {"neox_odd_rotary", "even number"}, {"neox_dynamic", "dynamic"},
    {"neox", "even number"},        {"neox_sequential", "even number"}, {"neox_odd_heads", "activation"},
    {"ministral", "sliding window"}};

// Writes the model of a folder.
void write_folder(const fs::path& file, const fs::path& folder, std::optional<BlockType> type = {}) {
  const StoredModel stored = open_stored_model(folder);
  GgufSource source = {.folder = folder};
  for (const auto& [name, info] : stored.weights.tensors())
    source.specs.push_back({name, info.dtype, info.shape});
  source.tensors = [&](const checkpoint::TensorSpec& spec) {
    return stored.weights.load(spec.name, spec.shape, spec.dtype);
  };
  write_gguf(file, source, type);
}

bool have_equal_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && at::equal(a.view(at::kInt), b.view(at::kInt));
}

TEST(GgufExport, KeepsEveryWeightBitForBit) {
  const test::TemporaryDirectory folder;
  for (const std::string name : kFamilyModels) {
    if (kRefused.contains(name)) continue;
    SCOPED_TRACE(name);
    const fs::path file = folder / (name + ".gguf");
    write_folder(file, family_model(name), BlockType::kF32);
    const auto theirs = checkpoint::TensorStore::open_model_directory(family_model(name));
    const auto ours = checkpoint::TensorStore::open_model_directory(file);
    size_t compared = 0;
    for (const auto& [tensor, info] : ours.tensors()) {
      if (!theirs.contains(tensor)) continue;
      EXPECT_TRUE(have_equal_bits(ours.load(tensor, info.shape, at::kFloat),
                                  theirs.load(tensor, info.shape, at::kFloat)))
          << tensor;
      ++compared;
    }
    EXPECT_GE(compared + 1, theirs.tensors().size()) << "a tied head may be left out";
  }
}

TEST(GgufExport, HasTheLogitsOfTransformersBelowAndBeyondTheWindow) {
  const test::TemporaryDirectory folder;
  for (const std::string name : kFamilyModels) {
    if (kRefused.contains(name)) continue;
    SCOPED_TRACE(name);
    const fs::path file = folder / (name + ".gguf");
    write_folder(file, family_model(name), BlockType::kF32);
    const Decoder decoder = load_decoder(file, at::kFloat);
    const auto golden = checkpoint::TensorStore::open_file(family_model(name) / "golden.safetensors");
    const at::Tensor ids = golden.load("ids"), below = golden.load("below.logits");
    EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 2e-5);
    EXPECT_CLOSE(logits_of(decoder, ids.slice(1, 0, below.size(1))), below, 2e-5);
    const ModelConfig theirs = open_stored_model(family_model(name)).config;
    EXPECT_EQ(decoder.config.context_window(), theirs.context_window());
    EXPECT_EQ(decoder.config.layer_windows, theirs.layer_windows);
    EXPECT_EQ(decoder.config.norm_eps, theirs.norm_eps);
  }
}

TEST(GgufExport, NamesWhatLlamaCppHasNoPlaceFor) {
  const test::TemporaryDirectory folder;
  for (const auto& [name, word] : kRefused)
    EXPECT_THAT(test::message_of<InputError>(
                    [&, &name = name] { write_folder(folder / "x.gguf", family_model(name)); }),
                AllOf(HasSubstr(word), HasSubstr("llama.cpp")))
        << name;
  EXPECT_TRUE(folder.names().empty()) << "nothing is left of a file that was refused";
}

TEST(GgufExport, SaysTheScalingAsLlamaCppReadsIt) {
  const test::TemporaryDirectory folder;
  const auto settings = [&](const fs::path& model) {
    write_folder(folder / "x.gguf", model);
    return gguf::GgufModel::open(folder / "x.gguf");
  };
  const ModelConfig linear = open_stored_model(tiny_model("linear_x4")).config,
                    yarn = open_stored_model(tiny_model("yarn_x8")).config;
  const gguf::GgufModel by_linear = settings(tiny_model("linear_x4"));
  EXPECT_EQ(by_linear.metadata().text("llama.rope.scaling.type"), "linear");
  EXPECT_EQ(by_linear.metadata().number("llama.rope.scaling.factor"), 4.0);
  EXPECT_EQ(by_linear.metadata().integer("llama.rope.scaling.original_context_length"),
            linear.original_window());
  EXPECT_EQ(by_linear.metadata().integer("llama.context_length"), 4 * linear.original_window());
  const gguf::GgufModel by_yarn = settings(tiny_model("yarn_x8"));
  EXPECT_EQ(by_yarn.metadata().text("llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(by_yarn.metadata().number("llama.rope.scaling.factor"), 8.0);
  EXPECT_EQ(by_yarn.metadata().integer("llama.rope.scaling.original_context_length"), yarn.original_window());
  EXPECT_EQ(by_yarn.metadata().integer("llama.context_length"), 8 * yarn.original_window());
  EXPECT_FALSE(by_yarn.metadata().has("llama.rope.scaling.attn_factor")) << "it is YaRN's own";
}

TEST(GgufExport, KeepsTheTypeOfTheEmbeddingUnlessAnotherIsAskedFor) {
  const test::TemporaryDirectory folder;
  const auto types = [&](std::optional<BlockType> type) {
    write_folder(folder / "x.gguf", test::data_path("stories260K_hf"), type);
    std::map<std::string, BlockType> found;
    const gguf::GgufModel model = gguf::GgufModel::open(folder / "x.gguf");
    for (const gguf::TensorEntry& tensor : model.tensors().front()) found[tensor.name] = tensor.type;
    return found;
  };
  EXPECT_EQ(types({})["token_embd.weight"], BlockType::kF32);
  auto four = types(BlockType::kQ4_0);
  EXPECT_EQ(four["blk.0.attn_q.weight"], BlockType::kQ4_0);
  EXPECT_EQ(four["token_embd.weight"], BlockType::kQ8_0) << "it is the head, too";
  EXPECT_EQ(four["blk.0.attn_norm.weight"], BlockType::kF32);
  EXPECT_EQ(four["blk.0.ffn_down.weight"], BlockType::kF16) << "its rows of 172 numbers are no whole blocks";
}

TEST(GgufExport, RefusesWeightsThatAreMissingOrBelongToNothing) {
  const test::TemporaryDirectory folder;
  const fs::path model = tiny_model("gqa_untied");
  const StoredModel stored = open_stored_model(model);
  const auto message = [&](const std::function<void(std::vector<checkpoint::TensorSpec>&)>& change) {
    GgufSource source = {.folder = model};
    for (const auto& [name, info] : stored.weights.tensors())
      source.specs.push_back({name, info.dtype, info.shape});
    change(source.specs);
    source.tensors = [&](const checkpoint::TensorSpec& spec) {
      return stored.weights.load(spec.name, spec.shape, spec.dtype);
    };
    return test::message_of<InputError>([&] { write_gguf(folder / "x.gguf", source, {}); });
  };
  EXPECT_THAT(message([](auto& specs) {
                std::erase_if(
                    specs, [](const auto& spec) { return spec.name == "model.layers.0.mlp.up_proj.weight"; });
              }),
              HasSubstr("model.layers.0.mlp.up_proj.weight"));
  EXPECT_THAT(message([](auto& specs) {
                specs.push_back({"model.score.weight", at::kFloat, {2}});
              }),
              HasSubstr("model.score.weight"));
  EXPECT_THAT(message([](auto& specs) { specs.front().shape.front() += 1; }), HasSubstr("shape"));
}

}  // namespace
}  // namespace longlora::model
