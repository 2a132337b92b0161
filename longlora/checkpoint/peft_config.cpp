#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "longlora/checkpoint/module_pattern.h"
#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr int64_t kMaxRank = 65536;
constexpr int64_t kLargestId =
    std::numeric_limits<int32_t>::max();  // the largest number of a layer or a token

// The fields whose value never changes what the trained adapter computes, and those that this file reads
// itself.
const std::set<std::string>& harmless_fields() {
  // fan_in_fan_out speaks of a class of layers that no model here has, and PEFT corrects it by itself.
  static const std::set<std::string> fields = {"auto_mapping",
                                               "base_model_name_or_path",
                                               "corda_config",
                                               "ensure_weight_tying",
                                               "eva_config",
                                               "inference_mode",
                                               "init_lora_weights",
                                               "loftq_config",
                                               "lora_alpha",
                                               "lora_dropout",
                                               "lora_ga_config",
                                               "megatron_core",
                                               "peft_type",
                                               "peft_version",
                                               "qalora_group_size",
                                               "r",
                                               "revision",
                                               "runtime_config",
                                               "target_modules",
                                               "task_type",
                                               "bias",
                                               "lora_bias",
                                               "alpha_pattern",
                                               "modules_to_save",
                                               "rank_pattern",
                                               "use_rslora",
                                               "use_dora",
                                               "fan_in_fan_out",
                                               "exclude_modules",
                                               "layers_to_transform",
                                               "layers_pattern",
                                               "trainable_token_indices"};
  return fields;
}

// Whether a value means "not used": null, false, "", [] and {} do.
bool is_unused(const Json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_string()) return value.get<std::string>().empty();
  return (value.is_array() || value.is_object()) && value.empty();
}

[[noreturn]] void refuse(const std::string& source, const std::string& field, const std::string& expected,
                         const std::string& got) {
  throw InputError(fmt::format("[{}] {}: expected {}, got {}", source, field, expected, got));
}

const Json& require(const Json& config, const char* field, const std::string& source) {
  const auto found = config.find(field);
  if (found == config.end()) refuse(source, field, "a value", "no such field");
  return *found;
}

void check_initialisation(const Json& config, const std::string& source) {
  const auto found = config.find("init_lora_weights");
  if (found == config.end() || found->is_null() || found->is_boolean()) return;
  static const std::set<std::string> keeps_base = {"gaussian", "eva", "orthogonal", "mica"};
  if (found->is_string() && keeps_base.count(found->get<std::string>()) != 0) return;
  refuse(source, "init_lora_weights", "an initialisation that leaves the base weights as they are",
         found->dump() + " (it changes them; convert the adapter to plain LoRA with PEFT first)");
}

// Refuses by name everything that is set and not known to be harmless: to compute something else than PEFT in
// silence would be worse.
void check_supported(const Json& config, const std::string& source) {
  if (const Json& type = require(config, "peft_type", source); type != "LORA")
    refuse(source, "peft_type", "\"LORA\"", type.dump());
  if (const auto task = config.find("task_type");
      task != config.end() && !task->is_null() && *task != "CAUSAL_LM")
    refuse(source, "task_type", "\"CAUSAL_LM\"", task->dump());
  check_initialisation(config, source);
  for (const auto& [field, value] : config.items()) {
    if (harmless_fields().count(field) != 0 || is_unused(value)) continue;
    if (value.is_number() || value.is_string()) {
      log_warning(
          fmt::format("{}: the setting {} = {} is unknown and not used", source, field, value.dump()));
      continue;
    }
    refuse(source, field, "it unused (null, false or empty)", value.dump() + ", which is not supported");
  }
}

int64_t read_rank(const Json& value, const std::string& field, const std::string& source) {
  if (!value.is_number_integer() || value < 1 || value > kMaxRank)
    refuse(source, field, fmt::format("an integer from 1 to {}", kMaxRank), value.dump());
  return value.get<int64_t>();
}

double read_number(const Json& value, const std::string& field, const std::string& source) {
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!std::isfinite(number)) refuse(source, field, "a number", value.dump());
  return number;
}

std::vector<std::string> read_names(const Json& value, const char* field, const std::string& source) {
  if (!value.is_array()) refuse(source, field, "a list of module names", value.dump());
  std::set<std::string> names;
  for (const Json& name : value) {
    if (!name.is_string() || name.get<std::string>().empty())
      refuse(source, field, "module names", name.dump());
    names.insert(name.get<std::string>());
  }
  return {names.begin(), names.end()};
}

bool read_flag(const Json& config, const char* field, const std::string& source) {
  const auto found = config.find(field);
  if (found == config.end() || found->is_null()) return false;
  if (!found->is_boolean()) refuse(source, field, "true or false", found->dump());
  return found->get<bool>();
}

// Reads a field that may be missing or unused, and otherwise is one text or a list of names.
void read_names_or_text(const Json& config, const char* field, std::vector<std::string>& names,
                        std::string& text, const std::string& source) {
  const auto found = config.find(field);
  if (found == config.end() || is_unused(*found)) return;
  if (!found->is_string()) {
    names = read_names(*found, field, source);
    return;
  }
  text = found->get<std::string>();
  check_module_pattern(text, fmt::format("{}: {}", source, field));
}

std::vector<int64_t> read_ids(const Json& value, const char* field, const std::string& source) {
  std::vector<int64_t> ids;
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > kLargestId)
      refuse(source, field, fmt::format("whole numbers from 0 to {}", kLargestId), value.dump());
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

void read_layers(const Json& config, LoraConfig& result, const std::string& source) {
  if (const auto layers = config.find("layers_to_transform"); layers != config.end() && !is_unused(*layers))
    result.layers_to_transform = read_ids(*layers, "layers_to_transform", source);
  std::string pattern;
  read_names_or_text(config, "layers_pattern", result.layers_pattern, pattern, source);
  if (!pattern.empty()) result.layers_pattern = {pattern};
  for (const std::string& each : result.layers_pattern)
    check_module_pattern(each, source + ": layers_pattern");
}

// Reads trainable_token_indices: a list is for the embedding, an object has a list for each module.
void read_token_rows(const Json& config, LoraConfig& result, const std::string& source) {
  constexpr const char* kField = "trainable_token_indices";
  const auto found = config.find(kField);
  if (found == config.end() || is_unused(*found)) return;
  if (found->is_array())
    result.trainable_token_indices.push_back({"", read_ids(*found, kField, source)});
  else if (found->is_object())
    for (const auto& entry : found->items())
      result.trainable_token_indices.push_back({entry.key(), read_ids(entry.value(), kField, source)});
  else
    refuse(source, kField, "a list of ids, or an object from module to list", found->dump());
}

void read_biases(const Json& config, LoraConfig& result, const std::string& source) {
  const Json bias = config.value("bias", Json());
  if (!bias.is_null()) {
    if (bias != "none" && bias != "all" && bias != "lora_only")
      refuse(source, "bias", "\"none\", \"all\" or \"lora_only\"", bias.dump());
    result.bias = bias.get<std::string>();
  }
  result.lora_bias = read_flag(config, "lora_bias", source);
}

void read_targets(const Json& config, LoraConfig& result, const std::string& source) {
  const Json& value = require(config, "target_modules", source);
  result.target_modules.clear();
  if (value.is_string() && !value.get<std::string>().empty()) {
    result.target_pattern = value.get<std::string>();
    check_module_pattern(result.target_pattern, source + ": target_modules");
    return;
  }
  result.target_modules = read_names(value, "target_modules", source);
  if (result.target_modules.empty()) refuse(source, "target_modules", "a list of module names", value.dump());
}

// Reads rank_pattern or alpha_pattern, which is an object from pattern to number.
template <typename Number, typename Read>
std::vector<std::pair<std::string, Number>> read_pattern(const Json& config, const char* field,
                                                         const Read& read, const std::string& source) {
  std::vector<std::pair<std::string, Number>> result;
  const auto found = config.find(field);
  if (found == config.end() || is_unused(*found)) return result;
  if (!found->is_object()) refuse(source, field, "an object from module to number", found->dump());
  for (const auto& entry : found->items()) {
    check_module_pattern(entry.key(), fmt::format("{}: {}", source, field));
    result.emplace_back(entry.key(), read(entry.value(), field, source));
  }
  return result;
}

template <typename Number>
const Number& pattern_value(const std::vector<std::pair<std::string, Number>>& patterns,
                            const std::string& module, const Number& otherwise) {
  for (const auto& [pattern, value] : patterns)
    if (matches_module(pattern, module)) return value;
  return otherwise;
}

// A number as JSON: a whole one is written 16, not 16.0, because PEFT's own field is an integer.
Json number_json(double value) {
  const bool is_whole = value == std::floor(value) && std::abs(value) < 1e15;
  return is_whole ? Json(static_cast<int64_t>(value)) : Json(value);
}

// The fields that PEFT writes and that have the same values for all plain LoRA.
const char* const kDefaults = R"({
  "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
  "base_model_name_or_path": null, "bias": "none", "corda_config": null, "ensure_weight_tying": false,
  "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
  "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
  "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 0, "lora_bias": false, "lora_dropout": 0.0,
  "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
  "monteclora_config": null, "peft_type": "LORA", "qalora_group_size": 16, "r": 0, "rank_pattern": {},
  "revision": null, "target_modules": [], "target_parameters": null, "task_type": "CAUSAL_LM",
  "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false,
  "use_rslora": false, "velora_config": null})";

Json names_or_text(const std::vector<std::string>& names, const std::string& text) {
  return text.empty() ? Json(names) : Json(text);
}

Json token_rows_json(const std::vector<TokenRows>& rows) {
  if (rows.size() == 1 && rows[0].module.empty()) return rows[0].ids;
  Json json = Json::object();
  for (const TokenRows& each : rows) json[each.module] = each.ids;
  return json;
}

// Whether a list of names means the module. PEFT's rule: a name is the module's own, or its end behind a dot.
bool is_named(const std::string& module, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return module == name || module.ends_with("." + name); });
}

// Calls visit(name) for the module of a parameter and then for those around it, until it returns true.
template <typename Visit>
bool any_module_of(std::string parameter, const Visit& visit) {
  for (size_t end = parameter.rfind('.'); end != std::string::npos; end = parameter.rfind('.')) {
    parameter.resize(end);
    if (visit(parameter)) return true;
  }
  return false;
}

// The number of the layer that a module lies in, found as PEFT finds it, or -1.
int64_t layer_of(const std::string& module, const std::vector<std::string>& patterns) {
  int64_t found = -1;
  size_t begin = 0, parts = 0;
  for (size_t end = module.find('.'); end != std::string::npos && found < 0; end = module.find('.', begin)) {
    int64_t number = 0;
    const auto parsed = std::from_chars(module.data() + begin, module.data() + end, number);
    const bool is_number = end > begin && parsed.ec == std::errc() && parsed.ptr == module.data() + end;
    const std::string before = module.substr(0, begin == 0 ? 0 : begin - 1);
    const bool is_layer =
        patterns.empty() ? parts >= 2
                         : std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
                             return matches_target("(?:.*\\.)?(?:" + pattern + ")", before);
                           });
    if (is_number && is_layer) found = number;
    begin = end + 1;
    ++parts;
  }
  return found;
}

}  // namespace

int64_t LoraConfig::rank_of(const std::string& module) const {
  return pattern_value(rank_pattern, module, rank);
}

double LoraConfig::scaling_of(const std::string& module) const {
  const auto own_rank = static_cast<double>(rank_of(module));
  return pattern_value(alpha_pattern, module, alpha) / (use_rslora ? std::sqrt(own_rank) : own_rank);
}

bool LoraConfig::targets(const std::string& module) const {
  const bool is_excluded =
      exclude_pattern.empty() ? is_named(module, exclude_modules) : matches_target(exclude_pattern, module);
  const bool is_whole = any_module_of(
      module + ".weight", [&](const std::string& around) { return is_named(around, modules_to_save); });
  if (is_excluded || is_whole) return false;
  if (!target_pattern.empty()) return matches_target(target_pattern, module);
  if (std::find(target_modules.begin(), target_modules.end(), module) != target_modules.end()) return true;
  if (!is_named(module, target_modules)) return false;
  return layers_to_transform.empty() ||
         std::find(layers_to_transform.begin(), layers_to_transform.end(),
                   layer_of(module, layers_pattern)) != layers_to_transform.end();
}

bool LoraConfig::saves_module_of(const std::string& parameter) const {
  return any_module_of(parameter, [&](const std::string& module) {
    return std::any_of(modules_to_save.begin(), modules_to_save.end(),
                       [&](const std::string& saved) { return module.ends_with(saved); });
  });
}

bool LoraConfig::trains_whole(const std::string& parameter) const {
  if (saves_module_of(parameter)) return true;
  if (!parameter.ends_with(".bias")) return false;
  return bias == "all" || (bias == "lora_only" && targets(parameter.substr(0, parameter.rfind('.'))));
}

LoraConfig parse_lora_config(const std::string& text, const std::string& source) {
  const Json json = parse_json(text, source);
  if (!json.is_object()) refuse(source, "content", "an object", json.type_name());
  check_supported(json, source);

  LoraConfig config;
  config.rank = read_rank(require(json, "r", source), "r", source);
  config.alpha = read_number(require(json, "lora_alpha", source), "lora_alpha", source);
  config.dropout = read_number(json.value("lora_dropout", Json(0.0)), "lora_dropout", source);
  if (config.dropout < 0 || config.dropout >= 1)
    refuse(source, "lora_dropout", "a share from 0 to below 1", fmt::format("{}", config.dropout));
  read_targets(json, config, source);
  read_names_or_text(json, "exclude_modules", config.exclude_modules, config.exclude_pattern, source);
  read_layers(json, config, source);
  read_token_rows(json, config, source);
  read_biases(json, config, source);
  config.ensure_weight_tying = read_flag(json, "ensure_weight_tying", source);
  config.use_rslora = read_flag(json, "use_rslora", source);
  config.use_dora = read_flag(json, "use_dora", source);
  config.rank_pattern = read_pattern<int64_t>(json, "rank_pattern", read_rank, source);
  config.alpha_pattern = read_pattern<double>(json, "alpha_pattern", read_number, source);
  if (const auto saved = json.find("modules_to_save"); saved != json.end() && !is_unused(*saved))
    config.modules_to_save = read_names(*saved, "modules_to_save", source);
  const Json base = json.value("base_model_name_or_path", Json());
  if (base.is_string()) config.base_model = base.get<std::string>();
  return config;
}

LoraConfig read_lora_config(const fs::path& directory) {
  const fs::path path = directory / kConfigFile;
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    throw InputError(
        fmt::format("[{}] expected a PEFT adapter directory with {}, got {}", directory.string(), kConfigFile,
                    fs::exists(directory / "config.json", ignored)
                        ? "a model; give it as the base model, and name the adapter's folder here"
                        : "none"));
  return parse_lora_config(read_file(path), path.string());
}

void write_lora_config(const fs::path& directory, const LoraConfig& config) {
  Json json = parse_json(kDefaults, kConfigFile);
  json["base_model_name_or_path"] = config.base_model.empty() ? Json() : Json(config.base_model);
  json["lora_alpha"] = number_json(config.alpha);
  json["lora_dropout"] = config.dropout;
  json["r"] = config.rank;
  json["target_modules"] = names_or_text(config.target_modules, config.target_pattern);
  json["bias"] = config.bias;
  json["lora_bias"] = config.lora_bias;
  json["ensure_weight_tying"] = config.ensure_weight_tying;
  json["use_rslora"] = config.use_rslora;
  json["use_dora"] = config.use_dora;
  for (const auto& [pattern, rank] : config.rank_pattern) json["rank_pattern"][pattern] = rank;
  for (const auto& [pattern, alpha] : config.alpha_pattern)
    json["alpha_pattern"][pattern] = number_json(alpha);
  if (!config.modules_to_save.empty()) json["modules_to_save"] = config.modules_to_save;
  if (!config.exclude_modules.empty() || !config.exclude_pattern.empty())
    json["exclude_modules"] = names_or_text(config.exclude_modules, config.exclude_pattern);
  if (!config.layers_to_transform.empty()) json["layers_to_transform"] = config.layers_to_transform;
  if (!config.layers_pattern.empty()) json["layers_pattern"] = config.layers_pattern;
  if (!config.trainable_token_indices.empty())
    json["trainable_token_indices"] = token_rows_json(config.trainable_token_indices);
  write_json(directory / kConfigFile, json);
}

}  // namespace longlora::checkpoint
