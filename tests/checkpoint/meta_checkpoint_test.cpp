// Meta's layout: names, rotary rows, model-parallel parts, and config.json from params.json.
#include "longlora/checkpoint/meta_checkpoint.h"

#include <ATen/ATen.h>

#include "longlora/checkpoint/tensor_writer.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kStories = fs::path(LONGLORA_SOURCE_DIR) / "tests/data/stories260K_meta";
const fs::path kStoriesHf = fs::path(LONGLORA_SOURCE_DIR) / "tests/data/stories260K_hf";

void expect_the_stories_model(const MetaCheckpoint& meta) {
  const TensorStore store = TensorStore::open_model_directory(kStoriesHf);
  size_t num_compared = 0;
  for (const auto& [name, info] : meta.weights().tensors()) {
    ASSERT_TRUE(store.contains(name)) << name;
    EXPECT_EQ(info.shape, store.info(name).shape) << name;
    EXPECT_TRUE(meta.weights().load(name).equal(store.load(name))) << name;
    const at::Tensor half = meta.weights().load(name, info.shape, at::kBFloat16);
    EXPECT_TRUE(half.equal(store.load(name, info.shape, at::kBFloat16))) << name;
    ++num_compared;
  }
  EXPECT_EQ(num_compared, store.tensors().size());
}

TEST(MetaCheckpoint, IsTheHuggingFaceModelBitForBit) {
  expect_the_stories_model(MetaCheckpoint::open(kStories));
}

TEST(MetaCheckpoint, WritesTheSameConfig) {
  const Json ours = MetaCheckpoint::open(kStories).config();
  const Json theirs = read_json(kStoriesHf / "config.json");
  for (const auto& entry : theirs.items()) EXPECT_EQ(ours[entry.key()], entry.value()) << entry.key();
}

// The stories in `num_parts` files: rows of wq, wk, wv, w1, w3 and output, columns of wo and w2, whole
// norms; the embedding by columns as Llama 2 has it, or by rows as Llama 3.
class PartedCheckpoint : public ::testing::Test {
 protected:
  void write_parts(int64_t num_parts, int64_t embedding_dim, int64_t num_kv_parts = 0) {
    if (num_kv_parts == 0) num_kv_parts = num_parts;
    const TensorStore whole = TensorStore::open_file(kStories / "consolidated.00.pth");
    for (int64_t part = 0; part < num_parts; ++part) {
      std::vector<TensorSpec> specs;
      std::map<std::string, at::Tensor> tensors;
      for (const auto& [name, info] : whole.tensors()) {
        at::Tensor tensor = whole.load(name);
        if (tensor.dim() == 2) {
          const bool by_columns = name.ends_with("wo.weight") || name.ends_with("w2.weight") ||
                                  (name == "tok_embeddings.weight" && embedding_dim == 1);
          if (name.find("feed_forward") != std::string::npos) {  // eight parts: without the last four
            const int64_t dim = by_columns ? 1 : 0;
            tensor = tensor.narrow(dim, 0, tensor.size(dim) / num_parts * num_parts);
          }
          const bool is_kv = name.ends_with("wk.weight") || name.ends_with("wv.weight");
          const int64_t num_pieces = is_kv ? num_kv_parts : num_parts;
          tensor = tensor.chunk(num_pieces,
                                by_columns ? 1 : 0)[static_cast<size_t>(part * num_pieces / num_parts)];
        }
        specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
        tensors[name] = tensor;
      }
      write_tensor_file(folder_ / ("consolidated.0" + std::to_string(part) + ".pth"), TensorFormat::kTorch,
                        specs, [&](const TensorSpec& spec) { return tensors.at(spec.name); });
    }
    fs::copy_file(kStories / "params.json", folder_ / "params.json", fs::copy_options::overwrite_existing);
  }
  // Adds a little to one tensor of one file.
  void change_part(const std::string& file, const std::string& changed) {
    const TensorStore part = TensorStore::open_file(folder_ / file);
    std::vector<TensorSpec> specs;
    specs.reserve(part.tensors().size());
    for (const auto& [name, info] : part.tensors()) specs.push_back({name, info.dtype, info.shape});
    write_tensor_file(folder_ / "other.pth", TensorFormat::kTorch, specs, [&](const TensorSpec& spec) {
      at::Tensor tensor = part.load(spec.name);
      return spec.name == changed ? tensor.add_(1e-3) : tensor;
    });
    fs::rename(folder_ / "other.pth", folder_ / file);
  }
  void set_param(const std::string& name, const Json& value) {
    Json params = read_json(folder_ / "params.json");
    params[name] = value;
    write_json(folder_ / "params.json", params);
  }
  std::string open_error() {
    return input_error_of([&] { MetaCheckpoint::open(folder_.path()); });
  }
  TemporaryDirectory folder_;
};

TEST_F(PartedCheckpoint, IsPutTogether) {
  for (const int64_t embedding_dim : {0, 1})
    for (const int64_t num_parts : {2, 4}) {
      write_parts(num_parts, embedding_dim);
      expect_the_stories_model(MetaCheckpoint::open(folder_.path()));
      for (int64_t part = 0; part < num_parts; ++part)
        fs::remove(folder_ / ("consolidated.0" + std::to_string(part) + ".pth"));
    }
}

TEST_F(PartedCheckpoint, IsFoundUnlessAHuggingFaceModelIsThere) {
  write_parts(2, 1);
  EXPECT_TRUE(MetaCheckpoint::is_in(folder_.path()));
  EXPECT_EQ(TensorStore::open_model_directory(folder_.path()).tensors().size(), 47);
  write_safetensors(folder_ / "model.safetensors", {{"x", at::ones({2})}});
  EXPECT_FALSE(MetaCheckpoint::is_in(folder_.path()));
  EXPECT_TRUE(TensorStore::open_model_directory(folder_.path()).contains("x"));
}

TEST_F(PartedCheckpoint, TakesCopiesOfKeyValueHeads) {
  write_parts(8, 1, /*num_kv_parts=*/4);
  set_param("multiple_of", Json());
  const TensorStore whole = TensorStore::open_model_directory(kStoriesHf);
  const MetaCheckpoint meta = MetaCheckpoint::open(folder_.path());
  size_t num_compared = 0;
  for (const auto& [name, info] : meta.weights().tensors()) {
    if (name.find("mlp") != std::string::npos) continue;
    EXPECT_TRUE(meta.weights().load(name).equal(whole.load(name))) << name;
    ++num_compared;
  }
  EXPECT_EQ(num_compared, 32);
  // A copy with other values is refused when it is loaded.
  change_part("consolidated.03.pth", "layers.1.attention.wv.weight");
  const TensorStore weights = MetaCheckpoint::open(folder_.path()).weights();
  weights.load("model.layers.1.self_attn.k_proj.weight");
  EXPECT_THAT(input_error_of([&] { weights.load("model.layers.1.self_attn.v_proj.weight"); }),
              AllOf(HasSubstr("consolidated.03.pth"), HasSubstr("layers.1.attention.wv.weight"),
                    HasSubstr("a copy of the one in consolidated.02.pth")));
}

TEST_F(PartedCheckpoint, RefusesNormsThatDiffer) {
  write_parts(2, 1);
  change_part("consolidated.01.pth", "layers.2.ffn_norm.weight");
  const TensorStore weights = MetaCheckpoint::open(folder_.path()).weights();
  weights.load("model.layers.2.input_layernorm.weight");
  EXPECT_THAT(input_error_of([&] { weights.load("model.layers.2.post_attention_layernorm.weight"); }),
              AllOf(HasSubstr("consolidated.01.pth"), HasSubstr("layers.2.ffn_norm.weight"),
                    HasSubstr("a copy of the one in consolidated.00.pth")));
}

TEST_F(PartedCheckpoint, RefusesPartsThatCutAHead) {
  write_parts(8, 1);  // of four key/value heads
  set_param("multiple_of", Json());
  EXPECT_THAT(open_error(), HasSubstr("whole heads of 8 rows, got [4, 64]"));
}

TEST_F(PartedCheckpoint, NoticesAMissingPart) {
  write_parts(2, 1);
  fs::remove(folder_ / "consolidated.01.pth");
  EXPECT_THAT(open_error(), AllOf(HasSubstr("params.json"), HasSubstr("are all of them there")));
  fs::remove(folder_ / "consolidated.00.pth");
  EXPECT_THAT(open_error(), HasSubstr("consolidated.00.pth"));
  fs::remove(folder_ / "params.json");
}

TEST_F(PartedCheckpoint, RefusesSettingsThatContradictTheTensors) {
  write_parts(1, 1);
  for (const auto& [name, value] : std::vector<std::pair<std::string, Json>>{{"multiple_of", 256},
                                                                             {"ffn_dim_multiplier", 1.3},
                                                                             {"n_kv_heads", 8},
                                                                             {"vocab_size", 500},
                                                                             {"n_layers", 6},
                                                                             {"n_heads", 7},
                                                                             {"dim", 0},
                                                                             {"dim", "64"},
                                                                             {"norm_eps", -1.0},
                                                                             {"use_scaled_rope", 1},
                                                                             {"moe", true},
                                                                             {"sliding_window", 4096}}) {
    set_param(name, value);
    EXPECT_THAT(open_error(), HasSubstr("expected")) << name;
    fs::copy_file(kStories / "params.json", folder_ / "params.json", fs::copy_options::overwrite_existing);
  }
}

TEST_F(PartedCheckpoint, TellsTheWindowOfPublishedModels) {
  write_parts(1, 1);
  Json params = read_json(folder_ / "params.json");
  params.erase("max_seq_len");
  write_json(folder_ / "params.json", params);
  const auto window = [&] {
    return MetaCheckpoint::open(folder_.path()).config()["max_position_embeddings"];
  };
  EXPECT_EQ(window(), 4096);
  set_param("norm_eps", 1e-6);
  EXPECT_EQ(window(), 2048);
  set_param("rope_theta", 1000000.0);
  EXPECT_EQ(window(), 16384);
  set_param("use_scaled_rope", true);
  const Json config = MetaCheckpoint::open(folder_.path()).config();
  EXPECT_EQ(config["max_position_embeddings"], 131072);
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "llama3");
  EXPECT_EQ(config["rope_scaling"]["factor"], 8.0);
}

TEST(MetaParams, FeedForwardWidthsAreThoseOfThePublishedModels) {
  MetaParams params;
  params.dim = 4096;
  params.multiple_of = 256;
  EXPECT_EQ(params.feed_forward_size(), 11008);  // Llama 2 7B
  params.multiple_of = 1024;
  params.ffn_dim_multiplier = 1.3;
  EXPECT_EQ(params.feed_forward_size(), 14336);  // Llama 3 8B
  params.dim = 8192;
  params.multiple_of = 4096;
  EXPECT_EQ(params.feed_forward_size(), 28672);  // 70B
}

}  // namespace
}  // namespace longlora::checkpoint
