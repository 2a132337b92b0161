#include "longlora/model/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/core/log.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;

/// The architectures whose tensors and forward pass are known.
constexpr const char* kSupportedArchitectures[] = {"LlamaForCausalLM"};

/// Sizes above this are not a model but a damaged or hostile file.
constexpr int64_t kLargestSize = int64_t{1} << 31;
constexpr int64_t kMostLayers = 1 << 16;

[[noreturn]] void fail(const std::string& source, const std::string& what) {
  throw InputError(fmt::format("[{}] {}", source, what));
}

/// Reads typed members of one JSON object and names file and key in errors.
class Reader {
 public:
  Reader(const Json& json, std::string source) : json_(json), source_(std::move(source)) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }

  int64_t size(const char* key) const {
    if (!has(key)) fail(source_, fmt::format("expected \"{}\", found no such key", key));
    return size(key, 0);
  }

  int64_t size(const char* key, int64_t fallback) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_number_integer())
      fail(source_, fmt::format("expected an integer \"{}\", got {}", key, json_[key].dump()));
    const bool too_large =
        json_[key].is_number_unsigned() && json_[key].get<uint64_t>() > uint64_t(kLargestSize);
    const int64_t value = too_large ? kLargestSize : json_[key].get<int64_t>();
    if (value <= 0 || value >= kLargestSize)
      fail(source_,
           fmt::format("expected \"{}\" between 1 and {}, got {}", key, kLargestSize - 1, json_[key].dump()));
    return value;
  }

  double number(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_number())
      fail(source_, fmt::format("expected a number \"{}\", got {}", key, json_[key].dump()));
    return json_[key].get<double>();
  }

  bool flag(const char* key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_boolean())
      fail(source_, fmt::format("expected true or false for \"{}\", got {}", key, json_[key].dump()));
    return json_[key].get<bool>();
  }

  std::string text(const char* key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_string())
      fail(source_, fmt::format("expected a string \"{}\", got {}", key, json_[key].dump()));
    return json_[key].get<std::string>();
  }

 private:
  const Json& json_;
  std::string source_;
};

RopeScaling parse_rope_scaling(const Json& json, const std::string& source) {
  RopeScaling scaling;
  if (json.is_null()) return scaling;
  if (!json.is_object())
    fail(source, fmt::format("expected an object for rope_scaling, got {}", json.dump()));
  const Reader reader(json, source);
  const std::string name = reader.text("rope_type", reader.text("type", "default"));
  scaling.type = rope_type_from_name(name, source);
  if (scaling.type == RopeType::kDefault) return scaling;
  scaling.factor = reader.number("factor", 0.0);
  if (!(scaling.factor >= 1.0) || !std::isfinite(scaling.factor))
    fail(source, fmt::format("expected a rope_scaling factor of at least 1, got {}", scaling.factor));
  scaling.original_max_position_embeddings = reader.size("original_max_position_embeddings", 0);
  scaling.beta_fast = reader.number("beta_fast", scaling.beta_fast);
  scaling.beta_slow = reader.number("beta_slow", scaling.beta_slow);
  scaling.truncate = reader.flag("truncate", scaling.truncate);
  scaling.attention_factor = reader.number("attention_factor", 0.0);
  scaling.mscale = reader.number("mscale", 0.0);
  scaling.mscale_all_dim = reader.number("mscale_all_dim", 0.0);
  return scaling;
}

std::string parse_architecture(const Json& json, const std::string& source) {
  std::string name;
  if (json.contains("architectures") && json["architectures"].is_array() && !json["architectures"].empty() &&
      json["architectures"][0].is_string())
    name = json["architectures"][0].get<std::string>();
  else if (json.contains("model_type") && json["model_type"].is_string())
    name = json["model_type"] == "llama" ? "LlamaForCausalLM" : json["model_type"].get<std::string>();
  for (const char* supported : kSupportedArchitectures)
    if (name == supported) return name;
  fail(source, fmt::format("expected one of the supported architectures ({}), got {}",
                           fmt::join(kSupportedArchitectures, ", "), name.empty() ? "none" : name));
}

/// Options of Llama configurations that change the maths and are not implemented.
void refuse_unsupported(const Reader& reader, const std::string& source) {
  for (const char* key : {"attention_bias", "mlp_bias"})
    if (reader.flag(key, false))
      fail(source, fmt::format("expected {} false: biases are not supported for Llama", key));
  const std::string activation = reader.text("hidden_act", "silu");
  if (activation != "silu") fail(source, fmt::format("expected hidden_act silu, got {}", activation));
  if (reader.has("quantization_config"))
    fail(
        source,
        "expected a model that is not quantized, got quantization_config; use the full-precision checkpoint");
  if (reader.number("pretraining_tp", 1) != 1) return;  // tensor-parallel slicing changes rounding alone
}

Json rope_scaling_json(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  Json json = {{"type", rope_type_name(scaling.type)},
               {"rope_type", rope_type_name(scaling.type)},
               {"factor", scaling.factor}};
  const bool is_yarn = scaling.type == RopeType::kYarn;
  // Linear scaling needs it only where the window beside it is not the original one.
  if (is_yarn || config.original_window() != config.max_position_embeddings)
    json["original_max_position_embeddings"] = config.original_window();
  if (!is_yarn) return json;
  const RopeScaling defaults;
  if (scaling.beta_fast != defaults.beta_fast) json["beta_fast"] = scaling.beta_fast;
  if (scaling.beta_slow != defaults.beta_slow) json["beta_slow"] = scaling.beta_slow;
  if (!scaling.truncate) json["truncate"] = false;
  if (scaling.attention_factor != 0.0) json["attention_factor"] = scaling.attention_factor;
  if (scaling.mscale != 0.0) json["mscale"] = scaling.mscale;
  if (scaling.mscale_all_dim != 0.0) json["mscale_all_dim"] = scaling.mscale_all_dim;
  return json;
}

}  // namespace

std::string rope_type_name(RopeType type) {
  switch (type) {
    case RopeType::kLinear:
      return "linear";
    case RopeType::kYarn:
      return "yarn";
    default:
      return "default";
  }
}

RopeType rope_type_from_name(const std::string& name, const std::string& source) {
  for (const RopeType type : {RopeType::kDefault, RopeType::kLinear, RopeType::kYarn})
    if (name == rope_type_name(type)) return type;
  fail(source, fmt::format("expected a rotary scaling of default, linear or yarn, got {}", name));
}

int64_t ModelConfig::original_window() const {
  return rope_scaling.original_max_position_embeddings > 0 ? rope_scaling.original_max_position_embeddings
                                                           : max_position_embeddings;
}

int64_t ModelConfig::context_window() const {
  const auto scaled = static_cast<int64_t>(static_cast<double>(original_window()) * rope_scaling.factor);
  return std::max(scaled, max_position_embeddings);
}

ModelConfig parse_model_config(const Json& json, const std::string& source) {
  if (!json.is_object()) fail(source, "expected a JSON object");
  const Reader reader(json, source);
  ModelConfig config;
  config.architecture = parse_architecture(json, source);
  refuse_unsupported(reader, source);
  config.vocab_size = reader.size("vocab_size");
  config.hidden_size = reader.size("hidden_size");
  config.intermediate_size = reader.size("intermediate_size");
  config.num_hidden_layers = reader.size("num_hidden_layers");
  if (config.num_hidden_layers > kMostLayers)
    fail(source, fmt::format("expected \"num_hidden_layers\" of at most {}, got {}", kMostLayers,
                             config.num_hidden_layers));
  config.num_attention_heads = reader.size("num_attention_heads");
  config.num_key_value_heads = reader.size("num_key_value_heads", config.num_attention_heads);
  if (!reader.has("head_dim") && config.hidden_size % config.num_attention_heads != 0)
    fail(source, fmt::format("expected hidden_size to be a multiple of num_attention_heads, got {} and {}",
                             config.hidden_size, config.num_attention_heads));
  config.head_dim = reader.size("head_dim", config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings = reader.size("max_position_embeddings", 2048);
  config.rms_norm_eps = reader.number("rms_norm_eps", 1e-6);
  config.tie_word_embeddings = reader.flag("tie_word_embeddings", false);
  config.initializer_range = reader.number("initializer_range", 0.02);

  // transformers 5 keeps theta and scaling together in rope_parameters.
  const bool new_form = reader.has("rope_parameters");
  const Json scaling =
      new_form ? json["rope_parameters"] : (json.contains("rope_scaling") ? json["rope_scaling"] : Json());
  if (new_form && !scaling.is_object()) fail(source, "expected an object for rope_parameters");
  config.rope_theta = reader.number("rope_theta", 10000.0);
  if (new_form) config.rope_theta = Reader(scaling, source).number("rope_theta", config.rope_theta);
  config.rope_scaling = parse_rope_scaling(scaling, source);

  if (config.num_attention_heads % config.num_key_value_heads != 0)
    fail(source,
         fmt::format("expected num_attention_heads to be a multiple of num_key_value_heads, got {} and {}",
                     config.num_attention_heads, config.num_key_value_heads));
  if (config.head_dim % 2 != 0)
    fail(source, fmt::format("expected an even head_dim, got {}", config.head_dim));
  if (!(config.rms_norm_eps > 0.0) || !(config.rope_theta > 0.0))
    fail(source, "expected positive rms_norm_eps and rope_theta");
  config.raw = json;
  return config;
}

ModelConfig read_model_config(const fs::path& path) {
  const fs::path file = fs::is_directory(path) ? path / "config.json" : path;
  return parse_model_config(read_json(file), file.string());
}

Json model_config_json(const ModelConfig& config, const std::string& dtype) {
  Json json = config.raw.is_object() ? config.raw : Json::object();
  json["architectures"] = {config.architecture};
  json["model_type"] = "llama";
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json.erase("dtype");
  json["torch_dtype"] = dtype;

  const bool scaled = config.rope_scaling.type != RopeType::kDefault;
  const Json scaling = scaled ? rope_scaling_json(config) : Json();
  json["rope_theta"] = config.rope_theta;
  json["rope_scaling"] = scaling;
  if (json.contains("rope_parameters")) {
    // The new form holds everything in one object; keep it the only truth there.
    json.erase("rope_scaling");
    Json parameters = scaled ? scaling : Json{{"rope_type", "default"}};
    parameters["rope_theta"] = config.rope_theta;
    json["rope_parameters"] = parameters;
    json["rope_scaling"] = scaling;
  }
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
  const double factor = std::ceil(target / static_cast<double>(original));
  RopeScaling scaling = keeps_type ? present : RopeScaling();
  if (factor <= 1.0) return scaling;
  if (!keeps_type) scaling.type = type.value_or(RopeType::kLinear);
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
  config.rope_scaling = scaling;
}

}  // namespace longlora::model
