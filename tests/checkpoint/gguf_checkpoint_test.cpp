// GGUF: values of every type, names, rows in order, and config.json from what the file says.
#include "longlora/checkpoint/gguf_checkpoint.h"

#include <ATen/ATen.h>

#include "longlora/tensors/dtypes.h"
#include "test_support.h"
#include "tests/support/gguf_bytes.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;
using test::GgufBytes;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kData = fs::path(LONGLORA_SOURCE_DIR) / "tests/data/gguf";
const fs::path kFamilies = fs::path(LONGLORA_SOURCE_DIR) / "tests/data/goldens/families";

// Models that were written as GGUF from those of the families.
constexpr const char* kModels[] = {
    "llama_biases",    "llama_head_dim", "llama_llama3", "mistral",          "qwen2",
    "qwen2_yarn",      "qwen3",          "phi3",         "phi3_longrope",    "neox",
    "neox_sequential", "neox_odd_heads", "stablelm",     "stablelm_parallel"};

fs::path gguf_of(const std::string& name) {
  return kData / (name + ".gguf");
}

bool have_equal_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

TEST(GgufBlocks, HaveTheBitsOfThePackageGguf) {
  const TensorStore expected = TensorStore::open_file(kData / "blocks.safetensors");
  const gguf::GgufModel model = gguf::GgufModel::open(kData / "blocks.gguf");
  ASSERT_EQ(model.tensors().front().size(), 15U);
  for (const gguf::TensorEntry& tensor : model.tensors().front()) {
    const at::Tensor wanted = expected.load(tensor.name);
    const at::Tensor values = at::empty(tensor.shape, at::kFloat);
    const std::byte* blocks = model.files().front()->bytes().data() + tensor.offset_bytes;
    gguf::dequantise(tensor.type, blocks, values.numel() / gguf::block_elements(tensor.type),
                     values.data_ptr<float>());
    EXPECT_TRUE(have_equal_bits(values, wanted)) << tensor.name;
    EXPECT_EQ(tensor.num_bytes, static_cast<uint64_t>(values.numel() / gguf::block_elements(tensor.type)) *
                                    gguf::block_bytes(tensor.type));
  }
}

TEST(GgufCheckpoint, IsTheHuggingFaceModelBitForBit) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    const TensorStore wanted = TensorStore::open_model_directory(kFamilies / name);
    const TensorStore weights = TensorStore::open_model_directory(gguf_of(name));
    for (const auto& [tensor, info] : weights.tensors()) {
      ASSERT_TRUE(wanted.contains(tensor)) << tensor;
      const at::Tensor values = weights.load(tensor, wanted.info(tensor).shape, at::kFloat);
      EXPECT_TRUE(have_equal_bits(values, wanted.load(tensor).to(at::kFloat))) << tensor;
    }
    for (const auto& [tensor, info] : wanted.tensors())
      EXPECT_TRUE(weights.contains(tensor) || tensor == "lm_head.weight" || tensor == "embed_out.weight")
          << tensor;
  }
}

TEST(GgufCheckpoint, IsTheSameInParts) {
  const TensorStore whole = GgufCheckpoint::open(kData / "qwen3.gguf").weights();
  const TensorStore parts = GgufCheckpoint::open(kData / "split-00002-of-00003.gguf").weights();
  EXPECT_EQ(parts.files().size(), 3U);
  ASSERT_EQ(parts.tensors().size(), whole.tensors().size());
  for (const auto& [name, info] : whole.tensors())
    EXPECT_TRUE(have_equal_bits(parts.load(name), whole.load(name))) << name;
}

TEST(GgufCheckpoint, LeavesTensorsInOrderWhereTheyLie) {
  const TensorStore weights = GgufCheckpoint::open(kData / "llama_llama3.gguf").weights();
  EXPECT_TRUE(weights.can_view("model.layers.0.self_attn.v_proj.weight", at::kFloat));
  EXPECT_FALSE(weights.can_view("model.layers.0.self_attn.q_proj.weight", at::kFloat))
      << "its rows are moved";
}

TEST(GgufCheckpoint, KeepsTheDtypeOfItsMatrices) {
  EXPECT_EQ(GgufCheckpoint::open(gguf_of("llama_head_dim")).dtype(), at::kHalf);
  EXPECT_EQ(GgufCheckpoint::open(gguf_of("qwen2")).dtype(), at::kBFloat16);
  EXPECT_EQ(GgufCheckpoint::open(gguf_of("qwen3")).dtype(), at::kFloat);
}

TEST(GgufCheckpoint, SaysTheScalingOfLlama3ByItsFactors) {
  const Json config = GgufCheckpoint::open(gguf_of("llama_llama3")).config();
  // A window of 16 is none of those that are known: the factors are said one by one.
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "longrope");
  EXPECT_EQ(config["rope_scaling"]["attention_factor"], 1.0);
  EXPECT_EQ(config["rope_scaling"]["long_factor"], config["rope_scaling"]["short_factor"]);
}

TEST(GgufCheckpoint, CallsALlamaWithAWindowAMistral) {
  const Json config = GgufCheckpoint::open(gguf_of("mistral")).config();
  EXPECT_EQ(config["model_type"], "mistral");
  EXPECT_EQ(config["sliding_window"], 5);
  EXPECT_FALSE(config.contains("attention_bias"));
}

// A model of one layer, width 4 and vocabulary 3 with changes, as a file.
class SmallModel {
 public:
  SmallModel() {
    numbers_ = {{"llama.block_count", 1},
                {"llama.context_length", 8192},
                {"llama.embedding_length", 4},
                {"llama.feed_forward_length", 4},
                {"llama.attention.head_count", 1}};
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
      tensors_.push_back({std::string("blk.0.") + name + ".weight", {4, 4}});
    for (const char* name : {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"})
      tensors_.push_back({name, {4}});
    tensors_.push_back({"token_embd.weight", {4, 3}});
  }
  SmallModel& set(const std::string& key, uint32_t value) {
    numbers_[key] = value;
    return *this;
  }
  SmallModel& set_text(const std::string& key, const std::string& value) {
    texts_[key] = value;
    return *this;
  }
  SmallModel& set_factors(const std::vector<float>& factors) {
    factors_ = factors;
    return *this;
  }
  SmallModel& drop(const std::string& key) {
    numbers_.erase(key);
    return *this;
  }
  SmallModel& add_tensor(const std::string& name, const std::vector<uint64_t>& sizes) {
    tensors_.push_back({name, sizes});
    return *this;
  }

  Json config() const { return open().config(); }
  std::string message() const {
    return input_error_of([&] { open(); });
  }

 private:
  GgufCheckpoint open() const {
    std::vector<Tensor> tensors = tensors_;
    if (!factors_.empty()) tensors.push_back({"rope_freqs.weight", {factors_.size()}});
    GgufBytes file = GgufBytes::file(tensors.size(), numbers_.size() + texts_.size() + 1);
    for (const auto& [key, value] : texts_) file.value(key, value);
    for (const auto& [key, value] : numbers_) file.value(key, value);
    file.value("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    uint64_t offset = 0;
    for (const Tensor& tensor : tensors) {
      file.tensor(tensor.name, tensor.sizes, 0, offset);
      offset += 128;
    }
    file.data(offset);
    std::string bytes = file.bytes();
    if (!factors_.empty())
      std::memcpy(bytes.data() + bytes.size() - 128, factors_.data(), factors_.size() * sizeof(float));
    const TemporaryDirectory folder;
    write_bytes(folder / "x.gguf", bytes);
    return GgufCheckpoint::open(folder / "x.gguf");
  }

  struct Tensor {
    std::string name;
    std::vector<uint64_t> sizes;
  };
  std::map<std::string, uint32_t> numbers_;
  std::map<std::string, std::string> texts_ = {{"general.architecture", "llama"}};
  std::vector<Tensor> tensors_;
  std::vector<float> factors_;
};

TEST(GgufConfig, HasTheSizesAndWhatTheTensorsShow) {
  const Json config =
      SmallModel().set("tokenizer.ggml.eos_token_id", 2).set("tokenizer.ggml.eot_token_id", 1).config();
  EXPECT_EQ(config["hidden_size"], 4);
  EXPECT_EQ(config["vocab_size"], 3);
  EXPECT_EQ(config["num_key_value_heads"], 1);
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["attention_bias"], false);
  EXPECT_EQ(config["eos_token_id"], Json::array({2, 1}));
  EXPECT_TRUE(config["rope_scaling"].is_null());
  EXPECT_EQ(SmallModel().add_tensor("output.weight", {4, 3}).config()["tie_word_embeddings"], false);
}

TEST(GgufConfig, KnowsTheFactorsOfLlama3) {
  // Theta 10000 and a head of 4: the second pair turns once in 628 tokens, the first in 6.
  const Json scaling = SmallModel()
                           .set("llama.context_length", 131072)
                           .set("llama.rope.freq_base", 500000000)
                           .set_factors({1.0F, 8.0F})
                           .config()["rope_scaling"];
  EXPECT_EQ(scaling["rope_type"], "llama3");
  EXPECT_EQ(scaling["factor"], 8.0);
  EXPECT_EQ(scaling["original_max_position_embeddings"], 8192);
  EXPECT_TRUE(SmallModel().set_factors({1.0F, 1.0F}).config()["rope_scaling"].is_null());
  const Json other = SmallModel().set_factors({2.0F, 3.0F}).config()["rope_scaling"];
  EXPECT_EQ(other["rope_type"], "longrope");
  EXPECT_EQ(other["long_factor"], Json::array({2.0, 3.0}));
  EXPECT_THAT(SmallModel().set_factors({2.0F, 3.0F, 4.0F}).message(), HasSubstr("a list of 2 factors"));
}

TEST(GgufConfig, ReadsScalings) {
  const auto scaled = [](const char* type) {
    return SmallModel().set_text("llama.rope.scaling.type", type).set("llama.rope.scaling.factor", 4);
  };
  EXPECT_EQ(scaled("linear").config()["rope_scaling"]["factor"], 4.0);
  EXPECT_TRUE(scaled("none").config()["rope_scaling"].is_null());
  const Json yarn =
      scaled("yarn").set("llama.rope.scaling.original_context_length", 2048).config()["rope_scaling"];
  EXPECT_EQ(yarn["rope_type"], "yarn");
  EXPECT_EQ(yarn["original_max_position_embeddings"], 2048);
  EXPECT_FALSE(yarn.contains("attention_factor"));
  const Json louder = scaled("yarn").set("llama.rope.scaling.attn_factor", 2).config()["rope_scaling"];
  EXPECT_DOUBLE_EQ(louder["attention_factor"].get<double>(), 2.0 * (0.1 * std::log(4.0) + 1.0));
  EXPECT_THAT(scaled("dynamic").message(), HasSubstr("rope.scaling.type"));
}

TEST(GgufConfig, NamesWhatIsMissingOrNotSupported) {
  EXPECT_THAT(SmallModel().drop("llama.block_count").message(), HasSubstr("llama.block_count"));
  EXPECT_THAT(SmallModel().set("llama.attention.head_count", 0).message(), HasSubstr("a positive size"));
  EXPECT_THAT(SmallModel().set("llama.attention.head_count", 8).message(), HasSubstr("rows"));
  EXPECT_THAT(SmallModel().set("llama.attention.head_count_kv", 3).message(), HasSubstr("head_count_kv"));
  EXPECT_THAT(SmallModel().set("llama.rope.dimension_count", 2).message(), HasSubstr("rope.dimension_count"));
  EXPECT_THAT(SmallModel().set("llama.expert_count", 8).message(), HasSubstr("expert_count"));
  EXPECT_THAT(SmallModel().set_text("general.type", "adapter").message(), HasSubstr("adapter"));
  EXPECT_THAT(SmallModel().set_text("general.architecture", "mamba").message(),
              AllOf(HasSubstr("mamba"), HasSubstr("stablelm")));
  EXPECT_THAT(SmallModel().add_tensor("blk.0.attn_q.scale", {1}).message(), HasSubstr("attn_q.scale"));
  EXPECT_THAT(SmallModel().add_tensor("blk.00.attn_q.weight", {4, 4}).message(), HasSubstr("blk.00"));
}

}  // namespace
}  // namespace longlora::checkpoint
