#include "longlora/checkpoint/meta_checkpoint.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

fs::path shard_path(const fs::path& directory, size_t index) {
  return directory / fmt::format("consolidated.{:02}.pth", index);
}

[[noreturn]] void fail(const fs::path& source, const std::string& expected, const std::string& got) {
  throw InputError(fmt::format("[{}] expected {}, got {}", source.string(), expected, got));
}

// Says how the tensors of the files make up the model.
class Assembly {
 public:
  Assembly(const std::vector<TensorStore>& parts, const MetaParams& params)
      : parts_(parts), params_(params) {}

  // The shape of a tensor, which is the same in all files.
  const std::vector<int64_t>& part_shape(const std::string& name, size_t rank) const {
    const TensorInfo& first = parts_.front().info(name);
    for (const TensorStore& part : parts_) {
      const TensorInfo& info = part.info(name);
      if (info.shape.size() != rank || info.shape != first.shape || info.dtype != first.dtype ||
          !at::isFloatingType(info.dtype))
        fail(part.file_of(name),
             fmt::format("\"{}\" with {} dimensions of floating point, alike in all files", name, rank),
             fmt::format("shape [{}] of {}", fmt::join(info.shape, ", "), c10::toString(info.dtype)));
    }
    return first.shape;
  }
  // The number of rows that all files have together.
  int64_t whole_rows(const std::string& name) const { return part_shape(name, 2)[0] * num_parts(); }
  // The dimension by which the embedding is cut: Llama 1 and 2 cut it by columns, Llama 3 by rows.
  int64_t embedding_dim() const { return part_shape(kEmbedding, 2)[1] == params_.dim ? 0 : 1; }
  int64_t embedding_rows() const {
    return embedding_dim() == 0 ? whole_rows(kEmbedding) : part_shape(kEmbedding, 2)[0];
  }

  TensorStore join(int64_t feed_forward) {
    const int64_t width = params_.dim;
    add("model.embed_tokens.weight", kEmbedding, {params_.vocab_size, width}).dim = embedding_dim();
    for (int64_t i = 0; i < params_.n_layers; ++i) add_layer(i, feed_forward);
    add_norm("model.norm.weight", "norm.weight");
    if (parts_.front().contains("output.weight"))
      add("lm_head.weight", "output.weight", {params_.vocab_size, width});
    return TensorStore::join(parts_, tensors_);
  }

 private:
  static constexpr const char* kEmbedding = "tok_embeddings.weight";

  int64_t num_parts() const { return static_cast<int64_t>(parts_.size()); }

  void add_layer(int64_t index, int64_t feed_forward) {
    const std::string name = fmt::format("model.layers.{}.", index);
    const std::string meta = fmt::format("layers.{}.", index);
    const int64_t width = params_.dim, head_dim = width / params_.n_heads;
    const int64_t key_width = head_dim * params_.n_kv_heads;
    const bool is_copied = num_parts() > params_.n_kv_heads && num_parts() % params_.n_kv_heads == 0;
    const int64_t copies = is_copied ? num_parts() / params_.n_kv_heads : 1;
    add_norm(name + "input_layernorm.weight", meta + "attention_norm.weight");
    add(name + "self_attn.q_proj.weight", meta + "attention.wq.weight", {width, width}).swap =
        RowSwap::rotary(head_dim);
    JoinedTensor& k =
        add(name + "self_attn.k_proj.weight", meta + "attention.wk.weight", {key_width, width}, copies);
    k.swap = RowSwap::rotary(head_dim);
    add(name + "self_attn.v_proj.weight", meta + "attention.wv.weight", {key_width, width}, copies);
    add(name + "self_attn.o_proj.weight", meta + "attention.wo.weight", {width, width}).dim = 1;
    add_norm(name + "post_attention_layernorm.weight", meta + "ffn_norm.weight");
    add(name + "mlp.gate_proj.weight", meta + "feed_forward.w1.weight", {feed_forward, width});
    add(name + "mlp.up_proj.weight", meta + "feed_forward.w3.weight", {feed_forward, width});
    add(name + "mlp.down_proj.weight", meta + "feed_forward.w2.weight", {width, feed_forward}).dim = 1;
  }

  // Adds a tensor whose rows are spread over the files.
  JoinedTensor& add(const std::string& name, const std::string& meta_name, const std::vector<int64_t>& shape,
                    int64_t copies = 1) {
    part_shape(meta_name, shape.size());
    return tensors_.emplace_back(
        JoinedTensor{.name = name, .shape = shape, .piece_name = meta_name, .copies = copies});
  }
  // Adds a tensor that every file has whole.
  void add_norm(const std::string& name, const std::string& meta_name) {
    add(name, meta_name, {params_.dim}, num_parts());
  }

  const std::vector<TensorStore>& parts_;
  const MetaParams& params_;
  std::vector<JoinedTensor> tensors_;
};

}  // namespace

bool MetaCheckpoint::is_in(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(shard_path(directory, 0), ignored) && !TensorStore::has_model_files(directory);
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
  checkpoint.params_ = parse_meta_params(read_file(params), params);
  std::vector<TensorStore> parts;
  parts.reserve(files.size());
  for (const fs::path& file : files) parts.push_back(TensorStore::open_file(file));
  MetaParams& p = checkpoint.params_;
  Assembly assembly(parts, p);
  if (p.vocab_size == -1) p.vocab_size = assembly.embedding_rows();
  checkpoint.intermediate_size_ = assembly.whole_rows("layers.0.feed_forward.w1.weight");
  if (const int64_t stated = p.feed_forward_size(); stated != 0 && stated != checkpoint.intermediate_size_)
    fail(params,
         fmt::format("a feed-forward width of {}, as the tensors have it", checkpoint.intermediate_size_),
         fmt::format("settings that give {}; do the files belong together, are all of them there?", stated));
  checkpoint.weights_ = assembly.join(checkpoint.intermediate_size_);
  return checkpoint;
}

// The window, which params.json does not state: Llama 1 is known by its epsilon, Code Llama by its theta, and
// Llama 3 by its vocabulary.
int64_t MetaCheckpoint::window() const {
  if (params_.max_seq_len > 0) return params_.max_seq_len;
  if (params_.use_scaled_rope) return 131072;
  if (params_.vocab_size >= 128000) return 8192;
  if (params_.rope_theta >= 1e6) return 16384;
  return params_.norm_eps <= 1e-6 ? 2048 : 4096;
}

Json MetaCheckpoint::config() const {
  const bool is_llama3 = params_.vocab_size >= 128000;
  const tensors::DtypeNames* dtype = tensors::dtype_names(weights_.info("model.embed_tokens.weight").dtype);
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
  config["tie_word_embeddings"] = !weights_.contains("lm_head.weight");
  config["torch_dtype"] = dtype->torch;
  config["use_cache"] = true;
  config["vocab_size"] = params_.vocab_size;
  return config;
}

}  // namespace longlora::checkpoint
