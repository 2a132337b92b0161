// Reads config.json as transformers 5 does: model_type decides the family, and where a setting is there in
// two spellings, the one that transformers prefers counts.
#include <fmt/format.h>

#include <algorithm>

#include "longlora/model/config.h"
#include "longlora/model/config_fields.h"
#include "longlora/model/config_reader.h"
#include "longlora/model/family.h"
#include "longlora/model/quantization_kind.h"

namespace longlora::model {
namespace {

constexpr int64_t kMostLayers = 1 << 16;

// Returns the first of `architectures`, which may be missing, null or empty.
std::string first_architecture(const Json& json) {
  const auto found = json.find("architectures");
  if (found == json.end() || !found->is_array() || found->empty() || !found->front().is_string()) return "";
  return found->front().get<std::string>();
}

// Throws for models whose head is not the one over the vocabulary, such as classifiers.
void check_task(const std::string& architecture, const ConfigReader& reader) {
  for (const char* task : {"ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
                           "ForMultipleChoice", "RewardModel"})
    if (architecture.find(task) != std::string::npos)
      reader.fail(
          fmt::format("expected a language model (…ForCausalLM), got a {}, whose head is another; use the "
                      "model that it was made from",
                      architecture));
}

// Finds the family by model_type, as transformers does, and where that is missing, by `architectures`.
const Family& parse_family(const Json& json, const ConfigReader& reader, ModelConfig& config) {
  const std::string architecture = first_architecture(json);
  check_task(architecture, reader);
  const std::string name = reader.text("model_type", architecture);
  const Family* family = find_family(name);
  if (family == nullptr)
    reader.fail(fmt::format("expected one of the supported architectures ({}), got {}",
                            supported_architectures(),
                            name.empty()           ? "none"
                            : architecture.empty() ? name
                                                   : fmt::format("{} ({})", name, architecture)));
  const Family* named = find_family(architecture);
  if (named != nullptr && named != family)
    config.remarks.push_back(
        fmt::format("architectures says {}, but model_type {} decides: the model is read as {}", architecture,
                    family->model_type, family->architecture));
  return *family;
}

Activation parse_activation(const ConfigReader& reader, const Family& family) {
  const std::string name = reader.text("hidden_act", family.activation);
  for (const char* silu : {"silu", "swish"})
    if (name == silu) return Activation::kSilu;
  for (const char* gelu : {"gelu", "gelu_python"})
    if (name == gelu) return Activation::kGelu;
  for (const char* tanh : {"gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"})
    if (name == tanh) return Activation::kGeluTanh;
  reader.fail(fmt::format("expected hidden_act silu, gelu or gelu_new, got {}", name));
}

// Reads quantization_config as transformers writes it for bitsandbytes' NF4. bnb_4bit_blocksize is a key of
// this program for blocks of another size; transformers finds the size stored with each weight.
std::optional<ops::Nf4Options> read_quantization(const Json& json, const ConfigReader& reader) {
  if (!reader.has("quantization_config")) return std::nullopt;
  const Json& settings = json["quantization_config"];
  if (!settings.is_object()) reader.fail("expected an object for quantization_config");
  const ConfigReader inner(settings, reader.source());
  if (const std::string kind = quantization_kind(settings); kind != kNf4)
    reader.fail(
        fmt::format("expected a model in full precision or in bitsandbytes' NF4, got a quantization_config "
                    "of {}; use the full-precision checkpoint that it was made from",
                    kind));
  ops::Nf4Options options;
  options.block_size = inner.size("bnb_4bit_blocksize", options.block_size);
  options.double_quant = inner.flag("bnb_4bit_use_double_quant", false);
  if (!ops::is_nf4_block_size(options.block_size))
    reader.fail(fmt::format("expected a bnb_4bit_blocksize of 32, 64, … 4096, got {}", options.block_size));
  return options;
}

void read_heads(const ConfigReader& reader, const Family& family, ModelConfig& config) {
  config.num_attention_heads = reader.size("num_attention_heads");
  const int64_t heads = config.num_attention_heads;
  // There is a key/value head for each query head where the value is null, or where it is missing and the
  // configuration class has no default.
  const bool is_stated = reader.mentions("num_key_value_heads") || family.num_key_value_heads == 0;
  config.num_key_value_heads =
      family.grouped_query
          ? reader.size("num_key_value_heads", is_stated ? heads : family.num_key_value_heads)
          : heads;
  const bool divides = config.hidden_size % heads == 0;
  if ((!reader.has("head_dim") || !family.free_head_dim) && family.head_dim == 0 && !divides)
    reader.fail(fmt::format("expected hidden_size to be a multiple of num_attention_heads, got {} and {}",
                            config.hidden_size, heads));
  const int64_t usual = family.head_dim > 0 ? family.head_dim : config.hidden_size / heads;
  const int64_t stated = reader.size("head_dim", usual);
  config.head_dim = family.free_head_dim ? stated : usual;
  if (stated != config.head_dim) {
    config.rotary_head_dim = stated;
    config.remarks.push_back(
        fmt::format("a {} has heads of {}, whatever head_dim says; as in transformers it decides how much of "
                    "them is rotated",
                    family.model_type, usual));
  }
  if (heads % config.num_key_value_heads != 0)
    reader.fail(
        fmt::format("expected num_attention_heads to be a multiple of num_key_value_heads, got {} and {}{}",
                    heads, config.num_key_value_heads,
                    reader.mentions("num_key_value_heads") ? "" : ", the default of the family"));
}

void read_sizes(const ConfigReader& reader, const Family& family, ModelConfig& config) {
  config.vocab_size = reader.size("vocab_size");
  config.hidden_size = reader.size("hidden_size");
  config.intermediate_size = reader.size("intermediate_size");
  config.num_hidden_layers = reader.size("num_hidden_layers");
  if (config.num_hidden_layers > kMostLayers)
    reader.fail(fmt::format("expected \"num_hidden_layers\" of at most {}, got {}", kMostLayers,
                            config.num_hidden_layers));
  read_heads(reader, family, config);
  config.max_position_embeddings = reader.size("max_position_embeddings", family.max_position_embeddings);
}

// Returns the object under `key`, or an empty one where the key is absent.
Json member_object(const Json& json, const char* key, const ConfigReader& reader) {
  if (!reader.has(key)) return Json::object();
  if (!json[key].is_object())
    reader.fail(fmt::format("expected an object for {}, got {}", key, json[key].dump()));
  return json[key];
}

// Returns the settings for a comparison of both spellings: without theta and the rotated share, and with the
// type under one key.
Json scaling_part(Json settings) {
  const Json type = settings.value("rope_type", settings.value("type", Json("default")));
  for (const char* key : {"rope_theta", "partial_rotary_factor", "type"}) settings.erase(key);
  settings["rope_type"] = type;
  return settings;
}

// Returns the settings of the rotary embedding: rope_scaling, or rope_parameters where that is empty, as
// transformers does. Theta and the rotated share may stand in either or at the top of config.json; the result
// has the values that count.
Json rope_settings(const Json& json, const ConfigReader& reader, const Family& family, ModelConfig& config) {
  const Json scaling = member_object(json, "rope_scaling", reader);
  const Json parameters = member_object(json, "rope_parameters", reader);
  Json settings = scaling.empty() ? parameters : scaling;
  for (const auto& [name, value] : settings.items())
    if (value.is_object())
      reader.fail(fmt::format(
          "expected rope_scaling or rope_parameters for all layers, got them for \"{}\" alone", name));
  if (!scaling.empty() && !parameters.empty() &&
      scaling_part(parameters).value("rope_type", Json()) != "default" &&
      scaling_part(parameters) != scaling_part(scaling))
    config.remarks.push_back("rope_scaling and rope_parameters differ: rope_scaling counts");
  const auto settle = [&](const char* key, const char* top_key) {
    const auto is_set = [&](const Json& object, const char* name) {
      return object.contains(name) && !object[name].is_null();
    };
    if (is_set(settings, key)) return;
    settings.erase(key);
    if (is_set(json, top_key)) {
      settings[key] = json[top_key];
    } else if (is_set(parameters, key)) {
      settings[key] = parameters[key];
      config.remarks.push_back(
          fmt::format("rope_scaling stands beside rope_parameters, whose {} of {} counts; transformers 5 "
                      "passes it over there: "
                      "write it into rope_scaling too",
                      key, parameters[key].dump()));
    }
  };
  settle("rope_theta", family.rope_theta_key);
  settle("partial_rotary_factor", family.rotary_fraction_key);
  return settings;
}

// Reads the share of a head that is rotated. The code of families that rotate whole heads uses the share only
// where there is a scaling, and then it has to be the whole head.
void read_rotary_fraction(const ConfigReader& settings, const Family& family, bool is_scaled,
                          ModelConfig& config) {
  config.rotary_fraction = settings.number("partial_rotary_factor", family.rotary_fraction);
  const double fraction = config.rotary_fraction;
  const auto fail = [&](const std::string& what) { settings.fail(what + fmt::format(", got {}", fraction)); };
  if (!family.rotates_part && !is_scaled && fraction != 1.0) {
    config.remarks.push_back(fmt::format("{} {:g} is not used: a {} rotates whole heads, as in transformers",
                                         family.rotary_fraction_key, fraction, family.model_type));
    config.rotary_fraction = 1.0;
  }
  if (!(config.rotary_fraction > 0.0) || config.rotary_fraction > 1.0)
    fail(fmt::format("expected a rotary share ({}) in (0, 1]", family.rotary_fraction_key));
  const int64_t dims = config.rotary_dims(), rotated = (dims + 1) / 2 * 2;
  if (dims < 1 || rotated > config.head_dim)
    settings.fail(fmt::format("expected an even head_dim, got {}{}", config.head_dim,
                              dims < 1 ? ", of which nothing is rotated" : ""));
  // The code of such a family computes the number of rotated dimensions a second time from the size of a
  // head. It has to be the number of dimensions that have angles.
  const auto counted = static_cast<int64_t>(static_cast<double>(config.head_dim) * fraction);
  if (family.rotates_even_only && counted != rotated)
    fail(fmt::format("expected a {} whose {} leaves an even number of the {} dimensions of a head to rotate",
                     family.model_type, family.rotary_fraction_key, config.head_dim));
  if (!family.rotates_part && rotated != config.head_dim)
    fail(fmt::format("expected a {} whose whole heads are rotated: {} 1", family.model_type,
                     family.rotary_fraction_key));
}

void read_rotary(const Json& json, const ConfigReader& reader, const Family& family, ModelConfig& config) {
  const Json settings = rope_settings(json, reader, family, config);
  const ConfigReader inner(settings, reader.source());
  config.rope_theta = inner.number("rope_theta", config.rope_theta);
  if (!(config.rope_theta > 0.0))
    reader.fail(fmt::format("expected a positive rope_theta, got {}", config.rope_theta));
  const bool is_scaled = read_rope_type(inner, family) != RopeType::kDefault;
  read_rotary_fraction(inner, family, is_scaled, config);
  read_rope_scaling(settings, reader, config);
}

}  // namespace

ModelConfig parse_model_config(const Json& json, const std::string& source) {
  const ConfigReader reader(json, source);
  if (!json.is_object()) reader.fail("expected a JSON object");
  ModelConfig config;
  const Family& family = parse_family(json, reader, config);
  check_config_fields(json, reader, family);
  config.architecture = family.architecture;
  config.form = family.form;
  config.form.activation = parse_activation(reader, family);
  config.quantization = read_quantization(json, reader);
  read_sizes(reader, family, config);
  config.norm_eps = reader.number(family.norm_eps_key, family.norm_eps);
  if (!(config.norm_eps > 0.0))
    reader.fail(fmt::format("expected a positive {}, got {}", family.norm_eps_key, config.norm_eps));
  config.tie_word_embeddings = reader.flag("tie_word_embeddings", false);
  config.initializer_range = reader.number("initializer_range", 0.02);
  read_rotary(json, reader, family, config);
  if (family.read != nullptr) family.read(reader, config);
  if (const std::string unknown = unknown_config_fields(json, family); !unknown.empty())
    config.remarks.push_back(
        fmt::format("{} knows no {}: not read, as in transformers; a model whose own code reads it computes "
                    "something else",
                    family.architecture, unknown));
  config.raw = json;
  return config;
}

}  // namespace longlora::model
