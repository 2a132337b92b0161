// The architectures of GGUF files that are read: what transformers calls them, and the names of their
// tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "longlora/checkpoint/tensor_store.h"

namespace longlora::checkpoint {

/// A module in both namings: "attn_q" and "self_attn.q_proj" inside a block.
struct GgufModule {
  const char* gguf;
  const char* hugging_face;
};

struct GgufArchitecture {
  const char* name;          // general.architecture, and the beginning of its keys
  const char* architecture;  // "LlamaForCausalLM"
  const char* model_type;
  const char* norm_key = "attention.layer_norm_rms_epsilon";
  const char* norm_setting = "rms_norm_eps";  // in config.json, as the next ones
  const char* theta_setting = "rope_theta";
  /// Null where whole heads are rotated.
  const char* fraction_setting = nullptr;
  const char* activation = "silu";
  /// Rows of queries and keys lie as the interleaved rotary layout wants them.
  bool is_interleaved = false;
  /// Rows of the fused queries, keys and values lie [3, heads, D], not [heads, 3, D].
  bool is_regrouped = false;
  /// Heads may be of another size than width / heads.
  bool free_head_dim = true;
  std::vector<GgufModule> outer = {};   // beside the blocks
  std::vector<GgufModule> blocks = {};  // those of a block
  const char* layers = "model.layers.";
};

/// Null for one that is not read.
const GgufArchitecture* find_gguf_architecture(const std::string& name);

/// "llama, qwen2, …".
std::string gguf_architecture_names();

/// The name that transformers gives to a tensor ("blk.3.attn_q.weight"); nothing for a name that the
/// architecture does not have.
std::optional<std::string> hugging_face_name(const GgufArchitecture& architecture, const std::string& name);

/// The opposite: the name in GGUF of a tensor that transformers calls `name`; nothing for one that the
/// architecture does not have.
std::optional<std::string> gguf_name(const GgufArchitecture& architecture, const std::string& name);

/// Sizes that say how rows of weights lie.
struct GgufHeads {
  int64_t num_heads = 0;
  int64_t num_key_value_heads = 0;
};

/// How the rows of a tensor of GGUF, `rows` of them under the name of the file, are to be put in order;
/// nothing where they are. Throws InputError, which names `source`, for rows that the heads do not divide.
std::optional<RowSwap> gguf_row_swap(const GgufArchitecture& architecture, const GgufHeads& heads,
                                     const std::string& name, int64_t rows, const std::string& source);

/// Factors of rotary frequencies, which are settings and no weights.
constexpr const char* kGgufRopeFactors = "rope_freqs.weight";  // for sequences of any length
constexpr const char* kGgufLongFactors = "rope_factors_long.weight";
constexpr const char* kGgufShortFactors = "rope_factors_short.weight";
bool is_rotary_factors(const std::string& name);

}  // namespace longlora::checkpoint
