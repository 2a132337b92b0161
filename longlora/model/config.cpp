#include "longlora/model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/model/config_reader.h"
#include "longlora/model/family.h"

namespace longlora::model {

const Family& ModelConfig::family() const {
  if (const Family* found = find_family(architecture)) return *found;
  throw InputError(fmt::format("[model] expected one of the supported architectures ({}), got {}",
                               supported_architectures(), architecture));
}

int64_t ModelConfig::original_window() const {
  return rope_scaling.original_max_position_embeddings > 0 ? rope_scaling.original_max_position_embeddings
                                                           : max_position_embeddings;
}

int64_t ModelConfig::context_window() const {
  // Such a scaling states both windows, and its factor may be more than their quotient: Llama 3.2 has a
  // factor of 32 for 8192 and 131072 tokens.
  if (rope_scaling.states_window() && max_position_embeddings > original_window())
    return max_position_embeddings;
  // The factor may be any number in a damaged file, so that the product is limited to the largest size.
  const double scaled = std::min(static_cast<double>(original_window()) * rope_scaling.factor,
                                 static_cast<double>(kLargestSize));
  return std::max(static_cast<int64_t>(scaled), max_position_embeddings);
}

namespace {

int64_t written_window(const ModelConfig& config, const Family& family) {
  const RopeType type = config.rope_scaling.type;
  // In transformers dynamic scaling takes max_position_embeddings for the original window.
  if (type == RopeType::kDynamic) return config.original_window();
  // The scaling is written as LongRoPE, which states the window after scaling.
  if (type != RopeType::kDefault && family.longrope_only) return config.context_window();
  return config.max_position_embeddings;
}

void write_quantization(const ModelConfig& config, const std::string& dtype, Json& json) {
  if (!config.quantization) {
    json.erase("quantization_config");
    return;
  }
  Json settings = json.value("quantization_config", Json::object());
  settings["quant_method"] = "bitsandbytes";
  settings["load_in_4bit"] = true;
  settings["load_in_8bit"] = false;
  settings["bnb_4bit_quant_type"] = "nf4";
  settings["bnb_4bit_use_double_quant"] = config.quantization->double_quant;
  if (!settings.contains("bnb_4bit_compute_dtype")) settings["bnb_4bit_compute_dtype"] = dtype;
  if (config.quantization->block_size != ops::Nf4Options().block_size)
    settings["bnb_4bit_blocksize"] = config.quantization->block_size;
  json["quantization_config"] = settings;
}

void write_sizes(const ModelConfig& config, const Family& family, Json& json) {
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  if (family.grouped_query) json["num_key_value_heads"] = config.num_key_value_heads;
  const int64_t usual =
      family.head_dim > 0 ? family.head_dim : config.hidden_size / config.num_attention_heads;
  const bool has_key = json.contains("head_dim") && !json["head_dim"].is_null();
  const bool is_needed = has_key || config.head_dim != usual ||
                         (family.layer_types_need_head_dim && json.contains("layer_types"));
  if (config.rotary_head_dim == 0 && is_needed) json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = written_window(config, family);
}

void write_rotary(const ModelConfig& config, const Family& family, Json& json) {
  const bool new_form = json.contains("rope_parameters");
  const Json scaling = rope_scaling_json(config);
  json[family.rope_theta_key] = config.rope_theta;
  const bool partial = config.rotary_fraction != 1.0 || family.rotary_fraction != 1.0;
  if (partial || json.contains(family.rotary_fraction_key))
    json[family.rotary_fraction_key] = config.rotary_fraction;
  // transformers prefers this field at the top of config.json to the one in rope_scaling, so that it must not
  // be out of date.
  constexpr const char* kOriginal = "original_max_position_embeddings";
  if (!scaling.is_null() && (family.longrope_only || json.contains(kOriginal)))
    json[kOriginal] = config.original_window();
  json.erase("rope_scaling");
  if (new_form) {
    // Programs that know the new form read rope_parameters first, so that it holds everything.
    Json parameters = scaling.is_null() ? Json{{"rope_type", "default"}} : scaling;
    parameters["rope_theta"] = config.rope_theta;
    if (partial) parameters["partial_rotary_factor"] = config.rotary_fraction;
    json["rope_parameters"] = parameters;
  }
  json["rope_scaling"] = scaling;
}

// Throws InputError where the family's configuration cannot hold a scaling of this type, or the model lacks
// what it needs.
void check_extension(const ModelConfig& config, RopeType type) {
  require_rotary_dims(type, config.rotary_dims(), "rope_scaling");
  if (type == RopeType::kDynamic && config.family().longrope_only)
    throw InputError(fmt::format(
        "[rope_scaling] expected linear, yarn or longrope for {}, whose config.json can hold nothing "
        "else, got dynamic",
        config.architecture));
  if (type == RopeType::kLongRope && config.rope_scaling.type != RopeType::kLongRope)
    throw InputError(
        "[rope_scaling] expected short_factor and long_factor of longrope in the model's config.json, found "
        "none; they come from a search for the model: put them there, or use linear or yarn");
}

}  // namespace

Json model_config_json(const ModelConfig& config, const std::string& dtype) {
  const Family& family = config.family();
  Json json = config.raw.is_object() ? config.raw : Json::object();
  json["architectures"] = {config.architecture};
  json["model_type"] = family.model_type;
  write_sizes(config, family, json);
  json[family.norm_eps_key] = config.norm_eps;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json.erase("dtype");
  json["torch_dtype"] = dtype;
  write_rotary(config, family, json);
  write_quantization(config, dtype, json);
  return json;
}

RopeScaling scaling_for_window(const ModelConfig& config, std::optional<RopeType> type,
                               int64_t target_window) {
  const RopeScaling& present = config.rope_scaling;
  const bool is_scaled = present.type != RopeType::kDefault;
  const bool keeps_type = is_scaled && type.value_or(present.type) == present.type;
  const int64_t window = config.context_window();
  if (keeps_type && target_window <= window) return present;
  const int64_t original = config.original_window();
  const auto target = static_cast<double>(is_scaled ? std::max(target_window, window) : target_window);
  double factor = std::ceil(target / static_cast<double>(original));
  if (keeps_type) factor = std::max(factor, present.factor);
  RopeScaling scaling = keeps_type ? present : RopeScaling();
  if (factor <= 1.0) return scaling;
  if (!keeps_type) scaling.type = type.value_or(RopeType::kLinear);
  check_extension(config, scaling.type);
  scaling.factor = factor;
  scaling.original_max_position_embeddings = original;
  return scaling;
}

std::string describe_scaling(const RopeScaling& scaling) {
  if (scaling.type == RopeType::kDefault) return "no rotary scaling";
  return fmt::format("{} rotary scaling by {:g}", rope_type_name(scaling.type), scaling.factor);
}

std::string stretch_window(ModelConfig& config, std::optional<RopeType> type, int64_t target_window) {
  const RopeScaling scaling = scaling_for_window(config, type, target_window);
  const RopeScaling& present = config.rope_scaling;
  const bool changes = scaling.type != present.type || scaling.factor != present.factor;
  std::string change;
  if (changes && present.type != RopeType::kDefault)
    change =
        fmt::format("window: {} takes the place of the model's own {}, relative to the original {} tokens",
                    describe_scaling(scaling), describe_scaling(present), config.original_window());
  const int64_t window = config.context_window(), original = config.original_window();
  config.rope_scaling = scaling;
  // Other programs read the new window from max_position_embeddings.
  if (scaling.states_window() && target_window > window)
    config.max_position_embeddings = (target_window + original - 1) / original * original;
  return change;
}

}  // namespace longlora::model
