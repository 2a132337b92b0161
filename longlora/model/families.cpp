// The families, one entry each; what a family reads of config.json beyond the
// common keys stands before the table.
#include <fmt/format.h>

#include <algorithm>

#include "longlora/model/config.h"
#include "longlora/model/config_reader.h"
#include "longlora/model/family.h"

namespace longlora::model {
namespace {

void read_llama(const ConfigReader& json, ModelConfig& config) {
  config.form.qkv_bias = config.form.output_bias = json.flag("attention_bias", false);
  config.form.mlp_bias = json.flag("mlp_bias", false);
}

/// One window for all layers; `absent` is the configuration class's default. Null means none.
void read_window(const ConfigReader& json, int64_t absent, ModelConfig& config) {
  const int64_t window = json.mentions("sliding_window") ? json.size("sliding_window", 0) : absent;
  if (window > 0) config.layer_windows.assign(config.num_hidden_layers, window);
}

void read_mistral(const ConfigReader& json, ModelConfig& config) {
  read_window(json, 4096, config);
}

/// Qwen's: a switch, the window, and the layers that have it.
void read_window_of_some_layers(const ConfigReader& json, ModelConfig& config) {
  if (!json.flag("use_sliding_window", false)) return;
  const int64_t window = json.mentions("sliding_window") ? json.size("sliding_window", 0) : 4096;
  if (window == 0) return;
  const std::vector<std::string> types = json.texts("layer_types");
  if (!types.empty() && types.size() != static_cast<size_t>(config.num_hidden_layers))
    json.fail(fmt::format("expected a layer type for each of {} layers, got {}", config.num_hidden_layers,
                          types.size()));
  // Zero is a number of layers too.
  const bool from_the_first = json.has("max_window_layers") && json.number("max_window_layers", 28) == 0.0;
  const int64_t first = from_the_first ? 0 : json.size("max_window_layers", 28);
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const bool slides = types.empty() ? layer >= first : types[layer] == "sliding_attention";
    if (!types.empty() && !slides && types[layer] != "full_attention")
      json.fail(
          fmt::format("expected layer types full_attention or sliding_attention, got {}", types[layer]));
    config.layer_windows.push_back(slides ? window : 0);
  }
}

void read_qwen3(const ConfigReader& json, ModelConfig& config) {
  config.form.qkv_bias = config.form.output_bias = json.flag("attention_bias", false);
  read_window_of_some_layers(json, config);
}

void read_phi3(const ConfigReader& json, ModelConfig& config) {
  read_window(json, 0, config);
}

void read_gpt_neox(const ConfigReader& json, ModelConfig& config) {
  config.form.qkv_bias = config.form.output_bias = json.flag("attention_bias", true);
  if (!json.flag("use_parallel_residual", true)) config.form.residual = ResidualForm::kSequential;
}

void read_stablelm(const ConfigReader& json, ModelConfig& config) {
  config.form.qkv_bias = json.flag("use_qkv_bias", false);
  if (json.flag("use_parallel_residual", false)) config.form.residual = ResidualForm::kSharedNorm;
  if (json.flag("qk_layernorm", false))
    json.fail("expected qk_layernorm false, got true, which is not supported");
}

std::vector<Family> make_families() {
  std::vector<Family> all;
  all.push_back({.architecture = "LlamaForCausalLM", .model_type = "llama", .read = read_llama});
  all.push_back({.architecture = "MistralForCausalLM",
                 .model_type = "mistral",
                 .max_position_embeddings = 131072,
                 .read = read_mistral});
  all.push_back({.architecture = "Qwen2ForCausalLM",
                 .model_type = "qwen2",
                 .form = {.qkv_bias = true},
                 .max_position_embeddings = 32768,
                 .read = read_window_of_some_layers});
  all.push_back({.architecture = "Qwen3ForCausalLM",
                 .model_type = "qwen3",
                 .form = {.query_key_norm = QueryKeyNorm::kPerHead},
                 .max_position_embeddings = 32768,
                 .head_dim = 128,
                 .read = read_qwen3});
  all.push_back({.architecture = "Phi3ForCausalLM",
                 .model_type = "phi3",
                 .form = {.qkv = QkvLayout::kConcatenated, .mlp = MlpForm::kFusedGated},
                 .norm_eps = 1e-5,
                 .max_position_embeddings = 4096,
                 .longrope_only = true,
                 .lora_targets = {"qkv_proj", "o_proj"},
                 .read = read_phi3});
  all.push_back({.architecture = "GPTNeoXForCausalLM",
                 .model_type = "gpt_neox",
                 .names = {.embed_tokens = "gpt_neox.embed_in",
                           .layers = "gpt_neox.layers.",
                           .norm = "gpt_neox.final_layer_norm",
                           .lm_head = "embed_out",
                           .qkv_proj = "attention.query_key_value",
                           .o_proj = "attention.dense",
                           .up_proj = "mlp.dense_h_to_4h",
                           .down_proj = "mlp.dense_4h_to_h"},
                 .form = {.norm = NormKind::kLayer,
                          .residual = ResidualForm::kParallel,
                          .qkv = QkvLayout::kPerHead,
                          .mlp = MlpForm::kPlain,
                          .qkv_bias = true,
                          .output_bias = true,
                          .mlp_bias = true},
                 .norm_eps_key = "layer_norm_eps",
                 .norm_eps = 1e-5,
                 .activation = "gelu",
                 .rope_theta_key = "rotary_emb_base",
                 .rotary_fraction_key = "rotary_pct",
                 .rotary_fraction = 0.25,
                 .grouped_query = false,
                 .lora_targets = {"query_key_value", "dense"},
                 .ignored_tensors = {".attention.bias", ".attention.masked_bias"},
                 .read = read_gpt_neox});
  all.push_back({.architecture = "StableLmForCausalLM",
                 .model_type = "stablelm",
                 .form = {.norm = NormKind::kLayer},
                 .norm_eps_key = "layer_norm_eps",
                 .norm_eps = 1e-5,
                 .max_position_embeddings = 4096,
                 .rotary_fraction = 0.25,
                 .read = read_stablelm});
  return all;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = make_families();
  return all;
}

const Family* find_family(const std::string& name) {
  const auto found = std::find_if(families().begin(), families().end(), [&](const Family& family) {
    return name == family.architecture || name == family.model_type;
  });
  return found == families().end() ? nullptr : &*found;
}

std::string supported_architectures() {
  std::string names;
  for (const Family& family : families())
    names += (names.empty() ? "" : ", ") + std::string(family.architecture);
  return names;
}

}  // namespace longlora::model
