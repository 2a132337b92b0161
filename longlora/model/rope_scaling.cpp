#include "longlora/model/rope_scaling.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "longlora/core/error.h"
#include "longlora/model/config.h"
#include "longlora/model/config_fields.h"
#include "longlora/model/config_reader.h"
#include "longlora/model/family.h"
#include "longlora/model/rotary.h"

namespace longlora::model {
namespace {

constexpr RopeType kRopeTypes[] = {RopeType::kDefault, RopeType::kLinear,   RopeType::kDynamic,
                                   RopeType::kYarn,    RopeType::kLongRope, RopeType::kLlama3};

void read_factor(const ConfigReader& json, const ModelConfig& config, RopeScaling& scaling) {
  scaling.factor = json.number("factor", 0.0);
  // The factor may follow from the two windows: for LongRoPE where it is missing, for YaRN where it is null.
  const bool by_windows =
      scaling.type == RopeType::kLongRope || (scaling.type == RopeType::kYarn && json.mentions("factor"));
  if (by_windows && !json.has("factor"))
    scaling.factor = std::max(1.0, static_cast<double>(config.max_position_embeddings) /
                                       static_cast<double>(scaling.original_max_position_embeddings));
  if (!(scaling.factor >= 1.0) || !std::isfinite(scaling.factor))
    json.fail(fmt::format("expected a rope_scaling factor of at least 1, got {}", scaling.factor));
}

// Reads the settings of YaRN as transformers does, where 0 and null mean the default.
void read_yarn(const ConfigReader& json, RopeScaling& scaling) {
  const auto number = [&](const char* key, double fallback) {
    const double value = json.number(key, fallback);
    return value == 0.0 ? fallback : value;
  };
  scaling.beta_fast = number("beta_fast", scaling.beta_fast);
  scaling.beta_slow = number("beta_slow", scaling.beta_slow);
  if (!(scaling.beta_fast > 0.0) || !(scaling.beta_slow > 0.0))
    json.fail(fmt::format("expected positive beta_fast and beta_slow for yarn, got {} and {}",
                          scaling.beta_fast, scaling.beta_slow));
  // transformers takes null for false.
  scaling.truncate = json.flag("truncate", !json.mentions("truncate"));
  scaling.mscale = json.number("mscale", 0.0);
  scaling.mscale_all_dim = json.number("mscale_all_dim", 0.0);
}

void read_attention_factor(const ConfigReader& json, RopeScaling& scaling) {
  if (!json.has("attention_factor")) return;
  scaling.attention_factor = json.number("attention_factor", 0.0);
  if (!(scaling.attention_factor > 0.0) || !std::isfinite(scaling.attention_factor))
    json.fail(fmt::format("expected a positive attention_factor, got {}", scaling.attention_factor));
}

// Returns the original window that the file states, or 0. The field at the top of config.json is preferred to
// the one in the scaling. transformers does not read it for linear and dynamic scaling.
int64_t read_original_window(const ConfigReader& json, const ConfigReader& top, const ModelConfig& config,
                             RopeType type) {
  constexpr const char* kOriginal = "original_max_position_embeddings";
  if (config.family().longrope_only) return top.size(kOriginal, config.family().max_position_embeddings);
  if (type == RopeType::kDynamic) return 0;
  const int64_t own = json.size(kOriginal, 0);
  return type == RopeType::kLinear ? own
                                   : top.size(kOriginal, own > 0 ? own : config.max_position_embeddings);
}

// Adds a remark about settings that this type of scaling does not have. Like transformers, this program
// ignores them.
void note_unread(const Json& json, RopeType type, ModelConfig& config) {
  std::set<std::string> known = {"type",       "rope_type",
                                 "rope_theta", "partial_rotary_factor",
                                 "finetuned",  "original_max_position_embeddings"};
  if (type != RopeType::kDefault) known.insert("factor");
  if (type == RopeType::kYarn)
    known.insert({"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"});
  if (type == RopeType::kLongRope) known.insert({"attention_factor", "short_factor", "long_factor"});
  if (type == RopeType::kLlama3) known.insert({"low_freq_factor", "high_freq_factor"});
  std::vector<std::string> unread;
  for (const auto& [name, value] : json.items())
    if (known.count(name) == 0 && !is_off(value)) unread.push_back(name);
  if (!unread.empty())
    config.remarks.push_back(fmt::format("{} in the settings of {} rotary scaling is not read",
                                         short_list(unread),
                                         type == RopeType::kDefault ? "no" : rope_type_name(type)));
}

void read_longrope(const ConfigReader& json, const ModelConfig& config, RopeScaling& scaling) {
  // With an odd number, transformers' configuration class of Phi-3 wants a factor for each whole pair and its
  // code one for the half pair, too, so that no list of factors is right.
  if (config.family().longrope_only && config.rotary_dims() % 2 != 0)
    json.fail(fmt::format("expected an even number of rotated dimensions for longrope, got {}",
                          config.rotary_dims()));
  const auto pairs = static_cast<size_t>((config.rotary_dims() + 1) / 2);
  scaling.short_factor = json.positive_numbers("short_factor");
  scaling.long_factor = json.positive_numbers("long_factor");
  for (const auto* factors : {&scaling.short_factor, &scaling.long_factor})
    if (factors->size() != pairs)
      json.fail(
          fmt::format("expected {} numbers, one for each rotated pair of dimensions, in short_factor and "
                      "long_factor of longrope, got {}",
                      pairs, factors->size()));
}

void read_llama3(const ConfigReader& json, RopeScaling& scaling) {
  scaling.low_freq_factor = json.number("low_freq_factor", 0.0);
  scaling.high_freq_factor = json.number("high_freq_factor", 0.0);
  if (!(scaling.low_freq_factor > 0.0) || !(scaling.high_freq_factor > scaling.low_freq_factor))
    json.fail(fmt::format("expected 0 < low_freq_factor < high_freq_factor for llama3, got {} and {}",
                          scaling.low_freq_factor, scaling.high_freq_factor));
}

// Returns the LongRoPE with the same frequencies, whose factors are the same for sequences of all lengths.
RopeScaling as_longrope(const ModelConfig& config) {
  ModelConfig plain = config;
  plain.rope_scaling = {};
  const RotaryFrequencies unscaled = rotary_frequencies(plain), scaled = rotary_frequencies(config);
  RopeScaling scaling;
  scaling.type = RopeType::kLongRope;
  scaling.factor = config.rope_scaling.factor;
  scaling.original_max_position_embeddings = config.original_window();
  scaling.attention_factor = scaled.attention_factor;
  for (size_t i = 0; i < scaled.inverse_frequencies.size(); ++i)
    scaling.long_factor.push_back(unscaled.inverse_frequencies[i] / scaled.inverse_frequencies[i]);
  scaling.short_factor = scaling.long_factor;
  return scaling;
}

void write_yarn(const RopeScaling& scaling, Json& json) {
  const RopeScaling defaults;
  if (scaling.beta_fast != defaults.beta_fast) json["beta_fast"] = scaling.beta_fast;
  if (scaling.beta_slow != defaults.beta_slow) json["beta_slow"] = scaling.beta_slow;
  if (!scaling.truncate) json["truncate"] = false;
  if (scaling.mscale != 0.0) json["mscale"] = scaling.mscale;
  if (scaling.mscale_all_dim != 0.0) json["mscale_all_dim"] = scaling.mscale_all_dim;
}

}  // namespace

std::string rope_type_name(RopeType type) {
  switch (type) {
    case RopeType::kLinear:
      return "linear";
    case RopeType::kDynamic:
      return "dynamic";
    case RopeType::kYarn:
      return "yarn";
    case RopeType::kLongRope:
      return "longrope";
    case RopeType::kLlama3:
      return "llama3";
    default:
      return "default";
  }
}

RopeType rope_type_from_name(const std::string& name, const std::string& source) {
  std::vector<std::string> names;
  for (const RopeType type : kRopeTypes) {
    names.push_back(rope_type_name(type));
    if (name == names.back()) return type;
  }
  throw InputError(
      fmt::format("[{}] expected a rotary scaling among {}, got {}", source, fmt::join(names, ", "), name));
}

RopeType read_rope_type(const ConfigReader& json, const Family& family) {
  const std::string name = json.text("rope_type", json.text("type", "default"));
  if (name == "su" || (name == "yarn" && family.longrope_only)) return RopeType::kLongRope;
  return rope_type_from_name(name, json.source());
}

const std::vector<std::string>& extension_rope_types() {
  static const std::vector<std::string> names = {"linear", "dynamic", "yarn", "longrope"};
  return names;
}

bool depends_on_length(RopeType type) {
  return type == RopeType::kDynamic || type == RopeType::kLongRope;
}

void require_rotary_dims(RopeType type, int64_t rotary_dims, const std::string& source) {
  if (type == RopeType::kDynamic && rotary_dims == 2)
    throw InputError(
        fmt::format("[{}] expected more than 2 rotated dimensions for dynamic scaling, got 2", source));
  if (type == RopeType::kYarn && rotary_dims % 2 != 0)
    throw InputError(fmt::format("[{}] expected an even number of rotated dimensions for yarn, got {}",
                                 source, rotary_dims));
}

void read_rope_scaling(const Json& json, const ConfigReader& top, ModelConfig& config) {
  const ConfigReader reader(json, top.source());
  RopeScaling scaling;
  scaling.type = read_rope_type(reader, config.family());
  note_unread(json, scaling.type, config);
  config.rope_scaling = scaling;
  if (scaling.type == RopeType::kDefault) return;
  scaling.original_max_position_embeddings = read_original_window(reader, top, config, scaling.type);
  read_factor(reader, config, scaling);
  if (scaling.type == RopeType::kYarn) read_yarn(reader, scaling);
  if (scaling.type == RopeType::kLongRope) read_longrope(reader, config, scaling);
  if (scaling.type == RopeType::kLlama3) read_llama3(reader, scaling);
  if (scaling.type == RopeType::kYarn || scaling.type == RopeType::kLongRope)
    read_attention_factor(reader, scaling);
  require_rotary_dims(scaling.type, config.rotary_dims(), top.source());
  config.rope_scaling = scaling;
}

Json rope_scaling_json(const ModelConfig& config) {
  RopeScaling scaling = config.rope_scaling;
  if (scaling.type == RopeType::kDefault) return {};
  if (config.family().longrope_only && scaling.type != RopeType::kLongRope) {
    if (scaling.type == RopeType::kDynamic)
      throw InputError(
          fmt::format("[config.json] expected a scaling that {} can hold (linear, yarn, longrope), "
                      "got dynamic",
                      config.architecture));
    scaling = as_longrope(config);
  }
  const RopeType type = scaling.type;
  Json json = {
      {"type", rope_type_name(type)}, {"rope_type", rope_type_name(type)}, {"factor", scaling.factor}};
  // Linear scaling needs the original window only where max_position_embeddings is another. Dynamic scaling
  // does not need it: there max_position_embeddings is the original window.
  const bool always = type == RopeType::kYarn || type == RopeType::kLongRope || type == RopeType::kLlama3;
  if (always || (type == RopeType::kLinear && config.original_window() != config.max_position_embeddings))
    json["original_max_position_embeddings"] = config.original_window();
  if (type == RopeType::kYarn) write_yarn(scaling, json);
  if (type == RopeType::kLongRope) {
    json["short_factor"] = scaling.short_factor;
    json["long_factor"] = scaling.long_factor;
  }
  if (type == RopeType::kLlama3) {
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
  }
  if (scaling.attention_factor != 0.0) json["attention_factor"] = scaling.attention_factor;
  return json;
}

}  // namespace longlora::model
