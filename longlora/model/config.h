// What config.json of a Hugging Face directory says about a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::model {

/// How rotary positions are stretched beyond the original window.
enum class RopeType { kDefault, kLinear, kYarn };

/// "default", "linear", "yarn".
std::string rope_type_name(RopeType type);
/// Throws InputError for a name that is not supported, listing those that are.
RopeType rope_type_from_name(const std::string& name, const std::string& source);

/// rope_scaling of config.json; formulas as in transformers.
struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1.0;
  /// Window the model was pretrained with; 0 means max_position_embeddings.
  int64_t original_max_position_embeddings = 0;
  // YaRN (arXiv 2309.00071); the values transformers assumes when they are absent.
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;
  double attention_factor = 0.0;  // 0: 0.1 ln(factor) + 1, or from the two mscales
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
};

/// A decoder's dimensions. Names are config.json's.
struct ModelConfig {
  std::string architecture = "LlamaForCausalLM";
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  /// config.json as it was read: everything not named above is written back unchanged.
  Json raw;

  /// The window before any scaling.
  int64_t original_window() const;
  /// The window the model is made for: original_window times the scaling factor.
  int64_t context_window() const;
};

/// Reads config.json of a directory, or the file itself. Throws InputError
/// naming the file: missing or non-positive sizes, sizes that do not divide, an
/// architecture or scaling that is not supported (listing those that are).
ModelConfig read_model_config(const std::filesystem::path& path);

/// As read_model_config, from parsed JSON; `source` names it in errors.
ModelConfig parse_model_config(const Json& json, const std::string& source);

/// `raw` brought up to date: sizes, vocabulary, rope_scaling under both key
/// names (`type` and `rope_type`), and rope_parameters where the file used that form. `dtype` is
/// "float32" or "bfloat16".
Json model_config_json(const ModelConfig& config, const std::string& dtype);

/// Scaling that takes `config` to `target_window`, always relative to the original window: factor =
/// ceil(target / original window). A scaling that the model carries is kept when it reaches the target;
/// else it gets the larger factor, its other settings as they are. `type`, where it is asked for, takes the
/// place of another type, for at least the window the model has; a model without scaling gets kLinear where
/// nothing is asked for. Nothing to stretch gives kDefault.
RopeScaling scaling_for_window(const ModelConfig& config, std::optional<RopeType> type,
                               int64_t target_window);

/// "no rotary scaling", "linear rotary scaling by 8".
std::string describe_scaling(const RopeScaling& scaling);

/// Gives `config` the scaling_for_window, and logs a line when the model carried another one.
void stretch_window(ModelConfig& config, std::optional<RopeType> type, int64_t target_window);

}  // namespace longlora::model
