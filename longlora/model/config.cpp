#include "longlora/model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/model/config_reader.h"
#include "longlora/model/family.h"

namespace longlora::model {
namespace {

constexpr int64_t kMostLayers = 1 << 16;

const Family& parse_family(const Json& json, const ConfigReader& reader) {
  std::string name;
  if (json.contains("architectures") && json["architectures"].is_array() && !json["architectures"].empty() &&
      json["architectures"][0].is_string())
    name = json["architectures"][0].get<std::string>();
  else if (json.contains("model_type") && json["model_type"].is_string())
    name = json["model_type"].get<std::string>();
  if (const Family* family = find_family(name)) return *family;
  reader.fail(fmt::format("expected one of the supported architectures ({}), got {}",
                          supported_architectures(), name.empty() ? "none" : name));
}

Activation parse_activation(const ConfigReader& reader, const Family& family) {
  const std::string name = reader.text("hidden_act", family.activation);
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  for (const char* tanh : {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"})
    if (name == tanh) return Activation::kGeluTanh;
  reader.fail(fmt::format("expected hidden_act silu, gelu or gelu_new, got {}", name));
}

/// quantization_config as transformers writes it for bitsandbytes' NF4; our own key for blocks of another
/// size, which transformers finds with each weight.
std::optional<ops::Nf4Options> read_quantization(const Json& json, const ConfigReader& reader) {
  if (!reader.has("quantization_config")) return std::nullopt;
  const Json& settings = json["quantization_config"];
  if (!settings.is_object()) reader.fail("expected an object for quantization_config");
  const ConfigReader inner(settings, reader.source());
  const std::string method = inner.text("quant_method", "bitsandbytes"),
                    type = inner.text("bnb_4bit_quant_type", "fp4");
  if (method != "bitsandbytes" || !inner.flag("load_in_4bit", false) || type != "nf4")
    reader.fail(
        "expected quantization_config of a model that is in full precision or in bitsandbytes' NF4, got "
        "another one; use the full-precision checkpoint");
  ops::Nf4Options options;
  options.block_size = inner.size("bnb_4bit_blocksize", options.block_size);
  options.double_quant = inner.flag("bnb_4bit_use_double_quant", false);
  if (!ops::is_nf4_block_size(options.block_size))
    reader.fail(fmt::format("expected a bnb_4bit_blocksize of 32, 64, … 4096, got {}", options.block_size));
  return options;
}

void read_sizes(const ConfigReader& reader, const Family& family, ModelConfig& config) {
  config.vocab_size = reader.size("vocab_size");
  config.hidden_size = reader.size("hidden_size");
  config.intermediate_size = reader.size("intermediate_size");
  config.num_hidden_layers = reader.size("num_hidden_layers");
  if (config.num_hidden_layers > kMostLayers)
    reader.fail(fmt::format("expected \"num_hidden_layers\" of at most {}, got {}", kMostLayers,
                            config.num_hidden_layers));
  config.num_attention_heads = reader.size("num_attention_heads");
  config.num_key_value_heads = family.grouped_query
                                   ? reader.size("num_key_value_heads", config.num_attention_heads)
                                   : config.num_attention_heads;
  const bool divides = config.hidden_size % config.num_attention_heads == 0;
  if (!reader.has("head_dim") && family.head_dim == 0 && !divides)
    reader.fail(fmt::format("expected hidden_size to be a multiple of num_attention_heads, got {} and {}",
                            config.hidden_size, config.num_attention_heads));
  config.head_dim = reader.size(
      "head_dim", family.head_dim > 0 ? family.head_dim : config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings = reader.size("max_position_embeddings", family.max_position_embeddings);
  if (config.num_attention_heads % config.num_key_value_heads != 0)
    reader.fail(
        fmt::format("expected num_attention_heads to be a multiple of num_key_value_heads, got {} and {}",
                    config.num_attention_heads, config.num_key_value_heads));
}

/// Theta, the rotated share and the scaling; transformers 5 keeps them together in rope_parameters.
void read_rotary(const Json& json, const ConfigReader& reader, const Family& family, ModelConfig& config) {
  const bool new_form = reader.has("rope_parameters");
  const Json scaling =
      new_form ? json["rope_parameters"] : (json.contains("rope_scaling") ? json["rope_scaling"] : Json());
  if (new_form && !scaling.is_object()) reader.fail("expected an object for rope_parameters");
  config.rope_theta = reader.number(family.rope_theta_key, config.rope_theta);
  config.rotary_fraction = reader.number(family.rotary_fraction_key, family.rotary_fraction);
  if (scaling.is_object()) {
    const ConfigReader inner(scaling, reader.source());
    config.rope_theta = inner.number("rope_theta", config.rope_theta);
    config.rotary_fraction = inner.number("partial_rotary_factor", config.rotary_fraction);
  }
  if (!(config.rope_theta > 0.0) || !(config.rotary_fraction > 0.0) || config.rotary_fraction > 1.0)
    reader.fail(fmt::format("expected a positive rope_theta and a rotary share in (0, 1], got {} and {}",
                            config.rope_theta, config.rotary_fraction));
  const int64_t dims = config.rotary_dims();
  if (dims < 1 || (dims + 1) / 2 * 2 > config.head_dim)
    reader.fail(fmt::format("expected an even head_dim, got {}{}", config.head_dim,
                            dims < 1 ? ", of which nothing is rotated" : ""));
  read_rope_scaling(scaling, reader, config);
}

}  // namespace

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
  // These state both windows, and their factor may be more than the one divided by
  // the other: Llama 3.2 says 32 for 8192 to 131072 tokens.
  if (rope_scaling.states_window() && max_position_embeddings > original_window())
    return max_position_embeddings;
  // A factor can be any number in a damaged file: no longer than what a size may be.
  const double scaled = std::min(static_cast<double>(original_window()) * rope_scaling.factor,
                                 static_cast<double>(kLargestSize));
  return std::max(static_cast<int64_t>(scaled), max_position_embeddings);
}

ModelConfig parse_model_config(const Json& json, const std::string& source) {
  const ConfigReader reader(json, source);
  if (!json.is_object()) reader.fail("expected a JSON object");
  const Family& family = parse_family(json, reader);
  ModelConfig config;
  config.architecture = family.architecture;
  config.form = family.form;
  config.form.activation = parse_activation(reader, family);
  read_sizes(reader, family, config);
  config.norm_eps = reader.number(family.norm_eps_key, family.norm_eps);
  if (!(config.norm_eps > 0.0))
    reader.fail(fmt::format("expected a positive {}, got {}", family.norm_eps_key, config.norm_eps));
  config.tie_word_embeddings = reader.flag("tie_word_embeddings", false);
  config.initializer_range = reader.number("initializer_range", 0.02);
  read_rotary(json, reader, family, config);
  if (family.read != nullptr) family.read(reader, config);
  config.quantization = read_quantization(json, reader);
  config.raw = json;
  return config;
}

namespace {

int64_t written_window(const ModelConfig& config, const Family& family) {
  const RopeType type = config.rope_scaling.type;
  // Dynamic scaling starts from this window in transformers.
  if (type == RopeType::kDynamic) return config.original_window();
  // Written as LongRoPE, which states the window after scaling.
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
  if (has_key || config.head_dim != usual) json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = written_window(config, family);
}

void write_rotary(const ModelConfig& config, const Family& family, Json& json) {
  const bool new_form = json.contains("rope_parameters");
  const Json scaling = rope_scaling_json(config);
  json[family.rope_theta_key] = config.rope_theta;
  const bool partial = config.rotary_fraction != 1.0 || family.rotary_fraction != 1.0;
  if (partial || json.contains(family.rotary_fraction_key))
    json[family.rotary_fraction_key] = config.rotary_fraction;
  if (family.longrope_only && !scaling.is_null())
    json["original_max_position_embeddings"] = config.original_window();
  json.erase("rope_scaling");
  if (new_form) {
    // Programs that know the new form look here first; it holds everything.
    Json parameters = scaling.is_null() ? Json{{"rope_type", "default"}} : scaling;
    parameters["rope_theta"] = config.rope_theta;
    if (partial) parameters["partial_rotary_factor"] = config.rotary_fraction;
    json["rope_parameters"] = parameters;
  }
  json["rope_scaling"] = scaling;
}

/// Throws unless the model's configuration can hold and has what this type needs.
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

void stretch_window(ModelConfig& config, std::optional<RopeType> type, int64_t target_window) {
  const RopeScaling scaling = scaling_for_window(config, type, target_window);
  const RopeScaling& present = config.rope_scaling;
  const bool changes = scaling.type != present.type || scaling.factor != present.factor;
  if (changes && present.type != RopeType::kDefault)
    log_info(
        fmt::format("window: {} takes the place of the model's own {}, relative to the original {} tokens",
                    describe_scaling(scaling), describe_scaling(present), config.original_window()));
  const int64_t window = config.context_window(), original = config.original_window();
  config.rope_scaling = scaling;
  // Other programs take the length that such a model is for from here.
  if (scaling.states_window() && target_window > window)
    config.max_position_embeddings = (target_window + original - 1) / original * original;
}

}  // namespace longlora::model
