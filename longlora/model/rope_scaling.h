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
  kDefault,   // no scaling
  kLinear,    // position interpolation (arXiv 2306.15595)
  kDynamic,   // NTK-aware: the frequencies depend on the length of the sequence
  kYarn,      // arXiv 2309.00071
  kLongRope,  // arXiv 2402.13753: a factor for each pair of dimensions, other ones for long sequences than
              // for short ones
  kLlama3,    // Llama 3.1: only long wavelengths are interpolated
};

/// Returns "default", "linear", "dynamic", "yarn", "longrope" or "llama3".
std::string rope_type_name(RopeType type);
/// Returns the type with that name. Throws InputError for a name that is not supported, and lists those that
/// are.
RopeType rope_type_from_name(const std::string& name, const std::string& source);

/// Returns the type that rotary settings say, under the key "rope_type" or "type". In old configurations of
/// Phi-3 "su" and "yarn" mean LongRoPE. Throws as rope_type_from_name.
RopeType read_rope_type(const ConfigReader& json, const Family& family);

/// The names of the types by which a window can be extended (`--rope_scaling`): linear, dynamic, yarn,
/// longrope. A llama3 scaling is read and kept, but never newly made.
const std::vector<std::string>& extension_rope_types();

/// What rope_scaling or rope_parameters of config.json say. The formulas are those of transformers.
struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1.0;
  /// The window that the model was pretrained with; 0: max_position_embeddings.
  int64_t original_max_position_embeddings = 0;
  // For YaRN. The values here are those that transformers assumes where the file has none.
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
  // For YaRN and LongRoPE. 0: it follows from the factor, or for YaRN from the two mscales where they are
  // given.
  double attention_factor = 0.0;
  // For LongRoPE: what the frequency of each pair of dimensions is divided by, in sequences up to the
  // original window and in longer ones.
  std::vector<double> short_factor = {};
  std::vector<double> long_factor = {};
  // For llama3: frequencies whose wavelength is above window / low_freq_factor are divided by the factor, and
  // those whose wavelength is below window / high_freq_factor stay as they are.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;

  /// Whether max_position_embeddings in the same file means the window after scaling.
  bool states_window() const { return type == RopeType::kLongRope || type == RopeType::kLlama3; }
};

/// Whether the frequencies depend on the length of the sequence.
bool depends_on_length(RopeType type);

/// Throws InputError where a type of scaling is not defined for so few rotated dimensions.
void require_rotary_dims(RopeType type, int64_t rotary_dims, const std::string& source);

/// Reads the rotary settings `json` into config.rope_scaling. The sizes and the rotary fraction of `config`
/// have to be there already. `top` is the whole configuration. Throws InputError.
void read_rope_scaling(const Json& json, const ConfigReader& top, ModelConfig& config);

/// Returns rope_scaling as config.json holds it, with its type under both keys, or null where there is no
/// scaling. For a family whose configuration allows LongRoPE alone, other scalings are written as a LongRoPE
/// with the same frequencies. Throws InputError where that is not possible.
Json rope_scaling_json(const ModelConfig& config);

}  // namespace longlora::model
