#include "longlora/checkpoint/meta_checkpoint.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "longlora/checkpoint/dtypes.h"
#include "longlora/core/error.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLargestSize = int64_t{1} << 31;
constexpr int64_t kMostLayers = 1 << 16;

fs::path shard_path(const fs::path& directory, size_t index) {
  return directory / fmt::format("consolidated.{:02}.pth", index);
}

[[noreturn]] void fail(const fs::path& source, const std::string& expected, const std::string& got) {
  throw InputError(fmt::format("[{}] expected {}, got {}", source.string(), expected, got));
}

// Members of params.json, checked as they are read.
class Reader {
 public:
  Reader(const Json& json, const fs::path& source) : json_(json), source_(source) {}
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  int64_t size(const char* key) const {
    if (!has(key)) fail(source_, fmt::format("\"{}\"", key), "no such setting");
    const Json& value = json_[key];
    if (!value.is_number_integer() || value < 1 || value > kLargestSize)
      fail(source_, fmt::format("a positive size for \"{}\"", key), value.dump());
    return value.get<int64_t>();
  }
  int64_t size(const char* key, int64_t otherwise) const {
    return has(key) && json_[key] != -1 ? size(key) : otherwise;
  }
  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    const Json& value = json_[key];
    if (!value.is_number() || !(value.get<double>() > 0.0) || value.get<double>() > 1e12)
      fail(source_, fmt::format("a positive number for \"{}\"", key), value.dump());
    return value.get<double>();
  }
  bool flag(const char* key) const {
    if (has(key) && !json_[key].is_boolean())
      fail(source_, fmt::format("true or false for \"{}\"", key), json_[key].dump());
    return has(key) && json_[key].get<bool>();
  }

 private:
  const Json& json_;
  const fs::path& source_;
};

}  // namespace

int64_t MetaParams::feed_forward_size() const {
  if (multiple_of == 0) return 0;
  const int64_t two_thirds = 8 * dim / 3;  // of 4 dim, rounded down before the multiplier as Meta's code does
  const auto width = static_cast<int64_t>(ffn_dim_multiplier * static_cast<double>(two_thirds));
  return (width + multiple_of - 1) / multiple_of * multiple_of;
}

MetaParams read_meta_params(const fs::path& path) {
  const Json json = read_json(path);
  if (!json.is_object()) fail(path, "a JSON object", json.type_name());
  const Reader reader(json, path);
  MetaParams params;
  params.dim = reader.size("dim");
  params.n_layers = reader.size("n_layers");
  params.n_heads = reader.size("n_heads");
  params.n_kv_heads = reader.size("n_kv_heads", params.n_heads);
  params.vocab_size = reader.size("vocab_size", -1);
  params.multiple_of = reader.size("multiple_of", 0);
  params.ffn_dim_multiplier = reader.number("ffn_dim_multiplier", 1.0);
  params.norm_eps = reader.number("norm_eps", 1e-5);
  params.rope_theta = reader.number("rope_theta", 10000.0);
  params.use_scaled_rope = reader.flag("use_scaled_rope");
  params.rope_scale_factor = reader.number("rope_scale_factor", 8.0);
  params.max_seq_len = reader.size("max_seq_len", 0);
  if (params.n_layers > kMostLayers)
    fail(path, fmt::format("at most {} layers", kMostLayers), std::to_string(params.n_layers));
  if (params.dim % params.n_heads != 0 || params.dim / params.n_heads % 2 != 0 ||
      params.n_heads % params.n_kv_heads != 0)
    fail(path, "dim, n_heads and n_kv_heads that divide into heads of an even size",
         fmt::format("{}, {} and {}", params.dim, params.n_heads, params.n_kv_heads));
  if (reader.has("moe") || reader.has("vision_chunk_size"))
    fail(path, "a Llama text model", "one with experts or vision, which is not supported");
  return params;
}

bool MetaCheckpoint::is_in(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(shard_path(directory, 0), ignored);
}

MetaCheckpoint MetaCheckpoint::open(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code ignored;
  while (fs::exists(shard_path(directory, files.size()), ignored))
    files.push_back(shard_path(directory, files.size()));
  if (files.empty()) fail(directory, "consolidated.00.pth", "no such file");
  return open(files, directory / "params.json");
}

MetaCheckpoint MetaCheckpoint::open(const std::vector<fs::path>& files, const fs::path& params) {
  MetaCheckpoint checkpoint;
  checkpoint.params_ = read_meta_params(params);
  for (const fs::path& file : files) checkpoint.shards_.push_back(TensorStore::open_file(file));
  MetaParams& p = checkpoint.params_;
  const Part embedding = {"tok_embeddings.weight", Layout::kEmbedding};
  if (p.vocab_size == -1) p.vocab_size = checkpoint.joined_shape(embedding).front();
  checkpoint.intermediate_size_ = checkpoint.whole_rows("layers.0.feed_forward.w1.weight");
  if (const int64_t stated = p.feed_forward_size(); stated != 0 && stated != checkpoint.intermediate_size_)
    fail(params,
         fmt::format("a feed-forward width of {}, as the tensors have it", checkpoint.intermediate_size_),
         fmt::format("settings that give {}; do the files belong together, are all of them there?", stated));

  checkpoint.add("model.embed_tokens.weight", embedding, {p.vocab_size, p.dim});
  for (int64_t i = 0; i < p.n_layers; ++i) checkpoint.add_layer(i);
  checkpoint.add("model.norm.weight", {"norm.weight", Layout::kCopies}, {p.dim});
  if (checkpoint.shards_.front().contains("output.weight"))
    checkpoint.add("lm_head.weight", {"output.weight", Layout::kRows}, {p.vocab_size, p.dim});
  return checkpoint;
}

void MetaCheckpoint::add_layer(int64_t index) {
  const std::string name = fmt::format("model.layers.{}.", index);
  const std::string meta = fmt::format("layers.{}.", index);
  const int64_t width = params_.dim, key_width = width / params_.n_heads * params_.n_kv_heads;
  const int64_t feed_forward = intermediate_size_;
  add(name + "input_layernorm.weight", {meta + "attention_norm.weight", Layout::kCopies}, {width});
  add(name + "self_attn.q_proj.weight", {meta + "attention.wq.weight", Layout::kRows, params_.n_heads},
      {width, width});
  add(name + "self_attn.k_proj.weight", {meta + "attention.wk.weight", Layout::kRows, params_.n_kv_heads},
      {key_width, width});
  add(name + "self_attn.v_proj.weight", {meta + "attention.wv.weight", Layout::kRows}, {key_width, width});
  add(name + "self_attn.o_proj.weight", {meta + "attention.wo.weight", Layout::kColumns}, {width, width});
  add(name + "post_attention_layernorm.weight", {meta + "ffn_norm.weight", Layout::kCopies}, {width});
  add(name + "mlp.gate_proj.weight", {meta + "feed_forward.w1.weight", Layout::kRows}, {feed_forward, width});
  add(name + "mlp.up_proj.weight", {meta + "feed_forward.w3.weight", Layout::kRows}, {feed_forward, width});
  add(name + "mlp.down_proj.weight", {meta + "feed_forward.w2.weight", Layout::kColumns},
      {width, feed_forward});
}

void MetaCheckpoint::add(const std::string& name, const Part& part, const std::vector<int64_t>& shape) {
  const std::vector<int64_t> joined = joined_shape(part);
  if (joined != shape)
    throw InputError(
        fmt::format("[{}] tensor \"{}\": expected shape [{}] of all {} files together, got [{}]; do they "
                    "belong to params.json?",
                    shards_.front().file_of(part.meta_name).string(), part.meta_name, fmt::join(shape, ", "),
                    shards_.size(), fmt::join(joined, ", ")));
  specs_.push_back({name, shards_.front().info(part.meta_name).dtype, shape});
  parts_.emplace(name, part);
}

int64_t MetaCheckpoint::whole_rows(const std::string& meta_name) const {
  const std::vector<int64_t> shape = joined_shape({meta_name, Layout::kRows});
  return shape.front();
}

// Llama 1 and 2 cut the embedding by columns, Llama 3 by rows.
int64_t MetaCheckpoint::joined_dim(const Part& part) const {
  if (part.layout == Layout::kRows) return 0;
  if (part.layout == Layout::kColumns) return 1;
  return shards_.front().info(part.meta_name).shape.back() == params_.dim ? 0 : 1;
}

std::vector<int64_t> MetaCheckpoint::joined_shape(const Part& part) const {
  const TensorInfo& first = shards_.front().info(part.meta_name);
  std::vector<int64_t> shape = first.shape;
  const size_t rank = part.layout == Layout::kCopies ? 1 : 2;
  for (const TensorStore& shard : shards_) {
    const TensorInfo& info = shard.info(part.meta_name);
    if (info.shape.size() != rank || info.shape != first.shape || info.dtype != first.dtype ||
        !at::isFloatingType(info.dtype))
      fail(shard.file_of(part.meta_name),
           fmt::format("\"{}\" with {} dimensions of floating point, alike in all files", part.meta_name,
                       rank),
           fmt::format("shape [{}] of {}", fmt::join(info.shape, ", "), c10::toString(info.dtype)));
  }
  if (part.layout != Layout::kCopies)
    shape[static_cast<size_t>(joined_dim(part))] *= static_cast<int64_t>(shards_.size());
  return shape;
}

at::Tensor MetaCheckpoint::load(const std::string& name) const {
  const auto found = parts_.find(name);
  if (found == parts_.end()) throw Error(fmt::format("[{}] expected a tensor of the model", name));
  const Part& part = found->second;
  at::Tensor weight = shards_.front().load(part.meta_name);
  if (shards_.size() > 1 && part.layout != Layout::kCopies) {
    const int64_t dim = joined_dim(part), step = weight.size(dim);
    at::Tensor whole = at::empty(joined_shape(part), weight.options());
    for (size_t i = 0; i < shards_.size(); ++i)
      whole.narrow(dim, static_cast<int64_t>(i) * step, step)
          .copy_(i == 0 ? weight : shards_[i].load(part.meta_name));
    weight = std::move(whole);
  }
  if (part.rotary_heads == 0) return weight;
  const int64_t rows = weight.size(0), columns = weight.size(1);
  return weight.view({part.rotary_heads, rows / part.rotary_heads / 2, 2, columns})
      .transpose(1, 2)
      .reshape({rows, columns});
}

// params.json does not say it: Llama 1 is told by its epsilon, Code Llama by its
// theta, Llama 3 by its vocabulary.
int64_t MetaCheckpoint::window() const {
  if (params_.max_seq_len > 0) return params_.max_seq_len;
  if (params_.use_scaled_rope) return 131072;
  if (params_.vocab_size >= 128000) return 8192;
  if (params_.rope_theta >= 1e6) return 16384;
  return params_.norm_eps <= 1e-6 ? 2048 : 4096;
}

Json MetaCheckpoint::config() const {
  const bool is_llama3 = params_.vocab_size >= 128000;
  const DtypeNames* dtype = dtype_names(specs_.front().dtype);
  Json config;
  config["architectures"] = {"LlamaForCausalLM"};
  config["attention_bias"] = false;
  config["bos_token_id"] = is_llama3 ? 128000 : 1;
  config["eos_token_id"] = is_llama3 ? 128001 : 2;
  config["hidden_act"] = "silu";
  config["hidden_size"] = params_.dim;
  config["initializer_range"] = 0.02;
  config["intermediate_size"] = intermediate_size_;
  config["max_position_embeddings"] = window();
  config["mlp_bias"] = false;
  config["model_type"] = "llama";
  config["num_attention_heads"] = params_.n_heads;
  config["num_hidden_layers"] = params_.n_layers;
  config["num_key_value_heads"] = params_.n_kv_heads;
  config["rms_norm_eps"] = params_.norm_eps;
  config["rope_scaling"] = Json();
  if (params_.use_scaled_rope)
    config["rope_scaling"] = {{"factor", params_.rope_scale_factor},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 8192},
                              {"rope_type", "llama3"}};
  config["rope_theta"] = params_.rope_theta;
  config["tie_word_embeddings"] = parts_.count("lm_head.weight") == 0;
  config["torch_dtype"] = dtype->torch;
  config["use_cache"] = true;
  config["vocab_size"] = params_.vocab_size;
  return config;
}

}  // namespace longlora::checkpoint
