// The families. Each is one function; the functions before them read the fields of config.json that only some
// families have.
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

// Returns the width of the sliding window that config.json says, or `absent`, the default of the
// configuration class, where the key is missing. 0 and null mean that there is no window.
int64_t window_of(const ConfigReader& json, int64_t absent) {
  return json.mentions("sliding_window") ? json.size("sliding_window", 0) : absent;
}

// Gives the window to the layers that layer_types calls sliding; no other field decides that.
void read_layer_types(const ConfigReader& json, int64_t window, ModelConfig& config) {
  const std::vector<std::string> types = json.texts("layer_types");
  if (types.size() != static_cast<size_t>(config.num_hidden_layers))
    json.fail(fmt::format("expected a layer type for each of {} layers, got {}", config.num_hidden_layers,
                          types.size()));
  for (const std::string& type : types) {
    const bool slides = type == "sliding_attention";
    if (!slides && type != "full_attention" && type != "attention")
      json.fail(fmt::format("expected layer types full_attention or sliding_attention, got {}", type));
    if (slides && window == 0)
      json.fail(
          "expected the sliding_window of the layers that layer_types calls sliding_attention, got none");
    config.layer_windows.push_back(slides ? window : 0);
  }
  if (std::count(types.begin(), types.end(), "sliding_attention") == 0) config.layer_windows.clear();
}

// Reads the window of a Mistral, which all layers have, or those that layer_types names. transformers does
// the same, since it reads a Mistral with layer_types as a Ministral.
void read_mistral(const ConfigReader& json, ModelConfig& config) {
  const int64_t window = window_of(json, 4096);
  if (json.has("layer_types")) return read_layer_types(json, window, config);
  if (window > 0) config.layer_windows.assign(config.num_hidden_layers, window);
}

// Reads the window of a Qwen: whether there is one, its width, and the first layer that has it.
void read_window_of_some_layers(const ConfigReader& json, ModelConfig& config) {
  const int64_t window = json.flag("use_sliding_window", false) ? window_of(json, 4096) : 0;
  if (json.has("layer_types")) return read_layer_types(json, window, config);
  if (window == 0) return;
  // 0 is valid here, which ConfigReader::size would refuse.
  const bool from_the_first = json.has("max_window_layers") && json.number("max_window_layers", 28) == 0.0;
  const int64_t first = from_the_first ? 0 : json.size("max_window_layers", 28);
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    config.layer_windows.push_back(layer >= first ? window : 0);
}

void read_qwen3(const ConfigReader& json, ModelConfig& config) {
  config.form.qkv_bias = config.form.output_bias = json.flag("attention_bias", false);
  read_window_of_some_layers(json, config);
}

void read_phi3(const ConfigReader& json, ModelConfig& config) {
  if (const int64_t window = window_of(json, 0); window > 0)
    config.layer_windows.assign(config.num_hidden_layers, window);
}

void read_gpt_neox(const ConfigReader& json, ModelConfig& config) {
  config.form.qkv_bias = config.form.output_bias = json.flag("attention_bias", true);
  if (!json.flag("use_parallel_residual", true)) config.form.residual = ResidualForm::kSequential;
}

void read_stablelm(const ConfigReader& json, ModelConfig& config) {
  config.form.qkv_bias = json.flag("use_qkv_bias", false);
  if (json.flag("use_parallel_residual", false)) config.form.residual = ResidualForm::kSharedNorm;
}

using enum FieldUse;

Family llama() {
  return {.architecture = "LlamaForCausalLM",
          .model_type = "llama",
          .fields = {{"attention_bias", kRead}, {"mlp_bias", kRead}},
          .read = read_llama};
}

// transformers has two classes for this family: it reads a Mistral with layer_types as a Ministral.
Family mistral(const char* architecture, const char* model_type) {
  return {.architecture = architecture,
          .model_type = model_type,
          .max_position_embeddings = 131072,
          .num_key_value_heads = 8,
          .layer_types_need_head_dim = true,
          .fields = {{"sliding_window", kRead}, {"layer_types", kRead}},
          .read = read_mistral};
}

Family qwen2() {
  return {.architecture = "Qwen2ForCausalLM",
          .model_type = "qwen2",
          .form = {.qkv_bias = true},
          .max_position_embeddings = 32768,
          .num_key_value_heads = 32,
          .fields = {{"use_sliding_window", kRead},
                     {"sliding_window", kRead},
                     {"max_window_layers", kRead},
                     {"layer_types", kRead}},
          .read = read_window_of_some_layers};
}

Family qwen3() {
  return {.architecture = "Qwen3ForCausalLM",
          .model_type = "qwen3",
          .form = {.query_key_norm = QueryKeyNorm::kPerHead},
          .max_position_embeddings = 32768,
          .num_key_value_heads = 32,
          .head_dim = 128,
          .fields = {{"use_sliding_window", kRead},
                     {"sliding_window", kRead},
                     {"max_window_layers", kRead},
                     {"layer_types", kRead},
                     {"attention_bias", kRead}},
          .read = read_qwen3};
}

Family phi3() {
  return {.architecture = "Phi3ForCausalLM",
          .model_type = "phi3",
          .form = {.qkv = QkvLayout::kConcatenated, .mlp = MlpForm::kFusedGated},
          .norm_eps = 1e-5,
          .max_position_embeddings = 4096,
          .rotates_part = true,
          .longrope_only = true,
          .lora_targets = {"qkv_proj", "o_proj"},
          .fields = {{"sliding_window", kRead}, {"resid_pdrop", kDropout}, {"embd_pdrop", kNothing}},
          .read = read_phi3};
}

Family gpt_neox() {
  return {.architecture = "GPTNeoXForCausalLM",
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
          .rotates_part = true,
          .grouped_query = false,
          .free_head_dim = false,
          .lora_targets = {"query_key_value", "dense"},
          .ignored_tensors = {".attention.bias", ".attention.masked_bias"},
          .fields = {{"attention_bias", kRead},
                     {"use_parallel_residual", kRead},
                     {"hidden_dropout", kDropout},
                     {"classifier_dropout", kNothing}},
          .read = read_gpt_neox};
}

Family stablelm() {
  return {.architecture = "StableLmForCausalLM",
          .model_type = "stablelm",
          .form = {.norm = NormKind::kLayer},
          .norm_eps_key = "layer_norm_eps",
          .norm_eps = 1e-5,
          .max_position_embeddings = 4096,
          .rotary_fraction = 0.25,
          .rotates_part = true,
          .rotates_even_only = true,
          .num_key_value_heads = 32,
          .free_head_dim = false,
          .fields = {{"use_qkv_bias", kRead},
                     {"use_parallel_residual", kRead},
                     {"qk_layernorm", kFixed, {nullptr, false}},
                     {"hidden_dropout", kDropout}},
          .read = read_stablelm};
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = {llama(),
                                          mistral("MistralForCausalLM", "mistral"),
                                          mistral("MinistralForCausalLM", "ministral"),
                                          qwen2(),
                                          qwen3(),
                                          phi3(),
                                          gpt_neox(),
                                          stablelm()};
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
