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

/// How random attention weights begin: independent of each other, or mimetic (Trockman and Kolter 2023,
/// arXiv 2305.09828), from which a small model learns to copy within fewer tokens.
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
  /// Share of head_dim that is rotated.
  double rotary_fraction = 1.0;
  /// Where not 0, the size of which the share is taken: GPT-NeoX and StableLM have no heads of another size
  /// than hidden_size / num_attention_heads, but transformers counts what is rotated by a head_dim in the
  /// file.
  int64_t rotary_head_dim = 0;
  RopeScaling rope_scaling;
  /// Tokens of the sliding window of each layer, 0: none; empty: no layer has one.
  std::vector<int64_t> layer_windows = {};
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  /// Where set, the linear layers of the blocks are in 4-bit NormalFloat, as transformers and bitsandbytes
  /// hold them. Files may differ in single weights: what they hold counts.
  std::optional<ops::Nf4Options> quantization = {};
  /// What a reader of config.json may expect to count and does not, a sentence each.
  std::vector<std::string> remarks = {};
  /// config.json as it was read: everything not named above is written back unchanged.
  Json raw;

  /// The family of `architecture`. Throws InputError for one that is not supported.
  const Family& family() const;
  /// The window before any scaling.
  int64_t original_window() const;
  /// The window the model is made for: original_window times the scaling factor, or
  /// max_position_embeddings where the scaling states_window().
  int64_t context_window() const;
  /// Tokens of the sliding window of a layer, 0: none.
  int64_t layer_window(size_t layer) const { return layer_windows.empty() ? 0 : layer_windows.at(layer); }
  /// Dimensions of a head that are rotated, as transformers counts them: it may be
  /// odd, and then one more is.
  int64_t rotary_dims() const {
    const int64_t size = rotary_head_dim > 0 ? rotary_head_dim : head_dim;
    return static_cast<int64_t>(static_cast<double>(size) * rotary_fraction);
  }
};

/// Reads config.json of a directory or the file itself, or params.json of a
/// directory in Meta's layout, as transformers reads it, and logs its remarks, each once in a process. Throws
/// InputError
/// naming the file: missing or non-positive sizes, sizes that do not divide, an
/// architecture or scaling that is not supported (listing those that are).
ModelConfig read_model_config(const std::filesystem::path& path);

/// As read_model_config, from parsed JSON; `source` names it in errors.
ModelConfig parse_model_config(const Json& json, const std::string& source);

/// `raw` brought up to date: sizes, vocabulary, rope_scaling under both key
/// names (`type` and `rope_type`), rope_parameters where the file used that form, and quantization_config.
/// `dtype` is "float32", "bfloat16" or "float16".
Json model_config_json(const ModelConfig& config, const std::string& dtype);

/// Scaling that takes `config` to `target_window`, always relative to the original window: factor =
/// ceil(target / original window). A scaling that the model carries is kept when it reaches the target;
/// else it gets the larger factor, its other settings as they are. `type`, where it is asked for, takes the
/// place of another type, for at least the window the model has; a model without scaling gets kLinear where
/// nothing is asked for. Nothing to stretch gives kDefault. LongRoPE takes the factors of the dimensions from
/// the model's own scaling; throws InputError for a model that has none, and for a type that the family's
/// configuration cannot hold.
RopeScaling scaling_for_window(const ModelConfig& config, std::optional<RopeType> type,
                               int64_t target_window);

/// "no rotary scaling", "linear rotary scaling by 8".
std::string describe_scaling(const RopeScaling& scaling);

/// Gives `config` the scaling_for_window. Under a scaling that states_window(), max_position_embeddings
/// becomes the new window. Returns a line for the log where the model carried another scaling; else nothing.
std::string stretch_window(ModelConfig& config, std::optional<RopeType> type, int64_t target_window);

}  // namespace longlora::model
