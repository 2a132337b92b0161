// Model families: what each Hugging Face architecture computes, how config.json
// says so and how a checkpoint names the parts. families.cpp holds them all.
#pragma once

#include <string>
#include <vector>

#include "longlora/model/block_form.h"
#include "longlora/model/config_fields.h"

namespace longlora::model {

struct ModelConfig;
class ConfigReader;

/// The names of the modules in a checkpoint, to which ".weight" or ".bias" is added. The full name of a
/// block's module is `layers`, the number of the block, a dot and the name here. Names of parts that a family
/// does not have are not used.
struct ModuleNames {
  const char* embed_tokens = "model.embed_tokens";
  const char* layers = "model.layers.";
  const char* norm = "model.norm";
  const char* lm_head = "lm_head";

  const char* input_layernorm = "input_layernorm";
  const char* q_proj = "self_attn.q_proj";
  const char* k_proj = "self_attn.k_proj";
  const char* v_proj = "self_attn.v_proj";
  const char* qkv_proj = "self_attn.qkv_proj";
  const char* q_norm = "self_attn.q_norm";
  const char* k_norm = "self_attn.k_norm";
  const char* o_proj = "self_attn.o_proj";
  const char* post_attention_layernorm = "post_attention_layernorm";
  const char* gate_proj = "mlp.gate_proj";
  const char* up_proj = "mlp.up_proj";
  const char* gate_up_proj = "mlp.gate_up_proj";
  const char* down_proj = "mlp.down_proj";
};

/// One architecture. The defaults are those of Llama. docs/adding-a-model.md tells how to add a family.
struct Family {
  const char* architecture;  // "LlamaForCausalLM"
  const char* model_type;    // "llama"
  ModuleNames names = {};
  BlockForm form = {};

  // Keys of config.json, and the defaults of transformers' configuration class for a file that does not have
  // them.
  const char* norm_eps_key = "rms_norm_eps";
  double norm_eps = 1e-6;
  int64_t max_position_embeddings = 2048;
  const char* activation = "silu";  // the default of hidden_act
  const char* rope_theta_key = "rope_theta";
  const char* rotary_fraction_key = "partial_rotary_factor";
  double rotary_fraction = 1.0;
  /// Whether transformers' code for the model can rotate a part of each head and leave the rest as it is.
  /// Otherwise it rotates whole heads, whatever share config.json states.
  bool rotates_part = false;
  /// Whether transformers' code for the model fails where an odd number of dimensions is to be rotated.
  /// Otherwise it rotates one more.
  bool rotates_even_only = false;
  /// Whether the configuration has num_key_value_heads. Otherwise there is a key/value head for each query
  /// head.
  bool grouped_query = true;
  /// The default of num_key_value_heads; 0: as many as query heads.
  int64_t num_key_value_heads = 0;
  /// The default of head_dim; 0: hidden_size / num_attention_heads.
  int64_t head_dim = 0;
  /// Whether the model's heads may have another size than hidden_size / num_attention_heads.
  bool free_head_dim = true;
  /// Whether transformers needs head_dim where there are layer_types. It reads a Mistral with layer_types as
  /// a Ministral, which has no default for head_dim.
  bool layer_types_need_head_dim = false;
  /// Whether transformers' configuration class accepts no scaling but LongRoPE, and has
  /// original_max_position_embeddings beside rope_scaling in place of inside it.
  bool longrope_only = false;

  /// The linear layers that get a low-rank pair where the user names none.
  std::vector<std::string> lora_targets = {"q_proj", "k_proj", "v_proj", "o_proj"};
  /// How the names of tensors end that old checkpoints have and that hold nothing learned.
  std::vector<std::string> ignored_tensors = {};

  /// Further fields of config.json that only this family has, or that mean something else than in other
  /// families.
  std::vector<ConfigField> fields = {};

  /// Reads this family's own fields into the configuration, whose sizes and form are filled in already.
  void (*read)(const ConfigReader& json, ModelConfig& config) = nullptr;
};

/// All families, in the order in which they are listed to users.
const std::vector<Family>& families();

/// The family of an architecture ("LlamaForCausalLM") or model type ("llama"); null when there is none.
const Family* find_family(const std::string& name);

/// "LlamaForCausalLM, MistralForCausalLM, …".
std::string supported_architectures();

}  // namespace longlora::model
