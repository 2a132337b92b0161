// What config.json of a Hugging Face directory says about a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/model/block_form.h"
#include "longlora/model/rope_scaling.h"
#include "longlora/ops/nf4_options.h"

namespace longlora::model {

struct Family;

/// How the attention weights of a random model are drawn: independently of each other, or in the mimetic way
/// (Trockman and Kolter 2023, arXiv 2305.09828), with which a small model learns to copy from its context
/// within fewer tokens.
enum class AttentionInit { kNormal, kMimetic };

/// A decoder's dimensions and what its blocks compute. Names are config.json's
/// where families agree on them.
struct ModelConfig {
  std::string architecture = "LlamaForCausalLM";
  BlockForm form;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  /// The share of a head's dimensions that is rotated.
  double rotary_fraction = 1.0;
  /// What the share is taken of; 0: of head_dim. It is set for GPT-NeoX and StableLM where the file has a
  /// head_dim: their heads always have hidden_size / num_attention_heads dimensions, but transformers takes
  /// the share of the file's head_dim.
  int64_t rotary_head_dim = 0;
  RopeScaling rope_scaling;
  /// The width of each layer's sliding window in tokens; 0: the layer has none. The list is empty where no
  /// layer has one.
  std::vector<int64_t> layer_windows = {};
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  /// Where set, the linear layers of the blocks are in 4-bit NormalFloat, as transformers and bitsandbytes
  /// hold them. A single weight may still be stored otherwise; then its file is right.
  std::optional<ops::Nf4Options> quantization = {};
  /// Sentences about settings in config.json that a user may expect to have an effect and that have none.
  std::vector<std::string> remarks = {};
  /// config.json as it was read. What has no member above is written back unchanged.
  Json raw;

  /// The family of `architecture`. Throws InputError for one that is not supported.
  const Family& family() const;
  /// The window in tokens before any rotary scaling.
  int64_t original_window() const;
  /// The window in tokens that the model is made for: original_window times the scaling factor, or
  /// max_position_embeddings where the scaling states_window().
  int64_t context_window() const;
  /// The width of a layer's sliding window in tokens; 0: the layer has none.
  int64_t layer_window(size_t layer) const { return layer_windows.empty() ? 0 : layer_windows.at(layer); }
  /// How many dimensions of a head are rotated, as transformers counts them. Dimensions are rotated in pairs,
  /// so that one more is rotated where the count is odd.
  int64_t rotary_dims() const {
    const int64_t size = rotary_head_dim > 0 ? rotary_head_dim : head_dim;
    return static_cast<int64_t>(static_cast<double>(size) * rotary_fraction);
  }
};

/// Reads the config.json at `path` or in the directory `path`, as transformers reads it, or the params.json
/// of a directory in Meta's layout, or the metadata of a GGUF file. Logs the remarks, each once in a process.
/// Throws InputError, which names the file, for sizes that are missing, not positive or no multiples where
/// they have to be, and for an architecture or scaling that is not supported, with those that are.
ModelConfig read_model_config(const std::filesystem::path& path);

/// As read_model_config, for JSON that is parsed already. `source` names it in errors.
ModelConfig parse_model_config(const Json& json, const std::string& source);

/// Returns the content of config.json for a configuration: `raw` with its present sizes, vocabulary,
/// quantization_config and rope_scaling, whose kind stands under both `type` and `rope_type`, and with
/// rope_parameters where the file used that form. `dtype` is "float32", "bfloat16" or "float16".
Json model_config_json(const ModelConfig& config, const std::string& dtype);

/// Returns the scaling that takes `config` to `target_window`. Its factor is relative to the original window:
/// ceil(target / original window). A scaling that the model has is kept where it reaches the target;
/// otherwise it gets the larger factor and keeps its other settings. Where `type` is given and the model's
/// scaling is of another type, a scaling of `type` takes its place, for at least the window that the model
/// has. Where no type is given, a model without scaling gets kLinear. The result is kDefault where the
/// original window reaches the target. LongRoPE takes its factors for the dimensions from the model's own
/// scaling. Throws InputError for LongRoPE where the model has no such factors, and for a type that the
/// family's configuration cannot hold.
RopeScaling scaling_for_window(const ModelConfig& config, std::optional<RopeType> type,
                               int64_t target_window);

/// Describes a scaling in words: "no rotary scaling", "linear rotary scaling by 8".
std::string describe_scaling(const RopeScaling& scaling);

/// Gives `config` the scaling that scaling_for_window returns. Where that states_window(),
/// max_position_embeddings becomes the new window. Returns a line for the log where the model had another
/// scaling, or an empty text.
std::string stretch_window(ModelConfig& config, std::optional<RopeType> type, int64_t target_window);

}  // namespace longlora::model
