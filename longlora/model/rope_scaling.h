// How rotary positions are stretched beyond the window a model was pretrained with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::model {

struct ModelConfig;
class ConfigReader;
struct Family;

enum class RopeType {
  kDefault,   // not at all
  kLinear,    // position interpolation (arXiv 2306.15595)
  kDynamic,   // NTK-aware, by the length of the sequence
  kYarn,      // arXiv 2309.00071
  kLongRope,  // arXiv 2402.13753: a factor per dimension, one set for short sequences and one for long
  kLlama3,    // Llama 3.1: interpolates long wavelengths alone
};

/// "default", "linear", "dynamic", "yarn", "longrope", "llama3".
std::string rope_type_name(RopeType type);
/// Throws InputError for a name that is not supported, listing those that are.
RopeType rope_type_from_name(const std::string& name, const std::string& source);

/// The kind that rotary settings say, under either name. "su" is what LongRoPE was called in Phi-3's first
/// configurations, and "yarn" for a while. Throws as rope_type_from_name.
RopeType read_rope_type(const ConfigReader& json, const Family& family);

/// The names that a window can be extended by (`--rope_scaling`): linear,
/// dynamic, yarn, longrope. llama3 is read and kept, never newly made.
const std::vector<std::string>& extension_rope_types();

/// rope_scaling or rope_parameters of config.json; formulas as in transformers.
struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1.0;
  /// Window the model was pretrained with; 0 means max_position_embeddings.
  int64_t original_max_position_embeddings = 0;
  // YaRN; the values transformers assumes when they are absent.
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
  // YaRN and LongRoPE. 0: from the factor (YaRN: or from the two mscales).
  double attention_factor = 0.0;
  // LongRoPE: what divides the frequency of each pair of dimensions, in sequences
  // up to the original window and in longer ones.
  std::vector<double> short_factor = {};
  std::vector<double> long_factor = {};
  // llama3: wavelengths beyond window / low_freq_factor are divided by the factor,
  // those below window / high_freq_factor are left.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;

  /// Whether max_position_embeddings beside it means the window after scaling.
  bool states_window() const { return type == RopeType::kLongRope || type == RopeType::kLlama3; }
};

/// Whether the frequencies depend on the length of the sequence.
bool depends_on_length(RopeType type);

/// Throws InputError where a scaling has no meaning for so many rotated dimensions.
void require_rotary_dims(RopeType type, int64_t rotary_dims, const std::string& source);

/// Reads `json`, an object of the rotary settings that count, into config.rope_scaling; the sizes and the
/// rotary fraction of `config` are there already. `top` is the whole configuration. Throws InputError.
void read_rope_scaling(const Json& json, const ConfigReader& top, ModelConfig& config);

/// rope_scaling as config.json holds it, its type under both names; null without
/// scaling. A family whose configuration allows LongRoPE alone gets every scaling in
/// that form, with the same frequencies. Throws InputError where there is none.
Json rope_scaling_json(const ModelConfig& config);

}  // namespace longlora::model
