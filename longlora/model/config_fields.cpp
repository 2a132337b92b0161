#include "longlora/model/config_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>

#include "longlora/model/config_reader.h"
#include "longlora/model/family.h"

namespace longlora::model {
namespace {

using enum FieldUse;

// The fields below are those that every family has. scripts/references/config_fields.py lists what the
// installed transformers has.

// The fields that are read in every family.
const std::vector<ConfigField> kReadFields = {
    {"model_type", kRead},
    {"architectures", kRead},
    {"vocab_size", kRead},
    {"hidden_size", kRead},
    {"intermediate_size", kRead},
    {"num_hidden_layers", kRead},
    {"num_attention_heads", kRead},
    {"hidden_act", kRead},
    {"head_dim",
     kRead},  // transformers' models look for it even where their configuration class does not have it
    {"max_position_embeddings", kRead},
    {"original_max_position_embeddings", kRead},
    {"rope_parameters", kRead},
    {"rope_scaling", kRead},
    {"initializer_range", kRead},
    {"tie_word_embeddings", kRead},
    {"quantization_config", kRead},
    {"bos_token_id", kRead},
    {"eos_token_id", kRead},
    {"pad_token_id", kRead},
    {"attention_dropout", kDropout},
};

// Fields that make it another model, or say that a part of the configuration is in another file.
const std::vector<ConfigField> kFieldsOfOtherModels = {
    {"is_causal", kFixed, {true}},
    {"is_encoder_decoder", kFixed, {nullptr, false}},
    {"per_layer_config", kFixed, {nullptr, Json::object()}},
    {"pruned_heads", kFixed, {nullptr, Json::object()}},
    {"text_config", kFixed, {nullptr}},
    {"transformers_weights", kFixed, {nullptr}},
    {"configuration_files", kFixed, {nullptr, Json::array()}},
    {"compression_config", kFixed, {nullptr, Json::object()}},
};

// Fields that say how transformers runs a model and what it returns, and fields of other tasks.
constexpr const char* kFieldsOfRunning[] = {"dtype",
                                            "torch_dtype",
                                            "transformers_version",
                                            "use_cache",
                                            "return_dict",
                                            "output_attentions",
                                            "output_hidden_states",
                                            "tie_last_hidden_states",
                                            "chunk_size_feed_forward",
                                            "gradient_checkpointing",
                                            "attn_implementation",
                                            "experts_implementation",
                                            "name_or_path",
                                            "auto_map",
                                            "id2label",
                                            "label2id",
                                            "num_labels",
                                            "problem_type"};

// Fields of old configurations, which transformers 5 no longer knows.
constexpr const char* kOldFields[] = {"pretraining_tp",
                                      "torchscript",
                                      "use_bfloat16",
                                      "tf_legacy_loss",
                                      "is_decoder",
                                      "add_cross_attention",
                                      "cross_attention_hidden_size",
                                      "tie_encoder_decoder",
                                      "decoder_start_token_id",
                                      "sep_token_id",
                                      "finetuning_task",
                                      "task_specific_params",
                                      "prefix",
                                      "tokenizer_class",
                                      "tokenizer_model_max_length",
                                      "model_max_length",
                                      "max_sequence_length",
                                      "seq_length",
                                      "use_flash_attn"};

// Fields of generation, which transformers reads from generation_config.json.
constexpr const char* kFieldsOfGeneration[] = {"max_length",
                                               "min_length",
                                               "max_new_tokens",
                                               "do_sample",
                                               "early_stopping",
                                               "num_beams",
                                               "num_beam_groups",
                                               "diversity_penalty",
                                               "temperature",
                                               "top_k",
                                               "top_p",
                                               "typical_p",
                                               "repetition_penalty",
                                               "encoder_repetition_penalty",
                                               "length_penalty",
                                               "no_repeat_ngram_size",
                                               "encoder_no_repeat_ngram_size",
                                               "bad_words_ids",
                                               "num_return_sequences",
                                               "output_scores",
                                               "return_dict_in_generate",
                                               "forced_bos_token_id",
                                               "forced_eos_token_id",
                                               "remove_invalid_values",
                                               "exponential_decay_length_penalty",
                                               "suppress_tokens",
                                               "begin_suppress_tokens",
                                               "epsilon_cutoff",
                                               "eta_cutoff",
                                               "num_assistant_tokens",
                                               "num_assistant_tokens_schedule",
                                               "assistant_confidence_threshold",
                                               "assistant_lookbehind",
                                               "target_lookbehind"};

// Returns the fields of one family by name. The family's own fields replace those that all families have.
std::map<std::string, ConfigField> fields_of(const Family& family) {
  std::map<std::string, ConfigField> fields;
  for (const auto* list : {&kReadFields, &kFieldsOfOtherModels})
    for (const ConfigField& field : *list) fields.emplace(field.name, field);
  using Names = std::span<const char* const>;
  for (const Names names : {Names(kFieldsOfRunning), Names(kOldFields), Names(kFieldsOfGeneration)})
    for (const char* name : names) fields.emplace(name, ConfigField{name, kNothing});
  for (const char* key : {family.norm_eps_key, family.rope_theta_key, family.rotary_fraction_key})
    fields.insert_or_assign(key, ConfigField{key, kRead});
  if (family.grouped_query)
    fields.insert_or_assign("num_key_value_heads", ConfigField{"num_key_value_heads", kRead});
  for (const ConfigField& field : family.fields) fields.insert_or_assign(field.name, field);
  return fields;
}

// Whether a field is a note of a program ("_name_or_path", "unsloth_version") and no setting.
bool is_private(const std::string& name) {
  return name.starts_with('_') || name.starts_with("unsloth");
}

}  // namespace

const ConfigField* find_config_field(const Family& family, const std::string& name) {
  static std::map<const Family*, std::map<std::string, ConfigField>> known = [] {
    std::map<const Family*, std::map<std::string, ConfigField>> all;
    for (const Family& each : families()) all.emplace(&each, fields_of(each));
    return all;
  }();
  const auto& fields = known.at(&family);
  const auto found = fields.find(name);
  return found == fields.end() ? nullptr : &found->second;
}

bool is_off(const Json& value) {
  if (value.is_null() || value == false || value == 0 || value == 1) return true;
  if (value.is_string() && value.get<std::string>().empty()) return true;
  if (!value.is_array() && !value.is_object()) return false;
  // A list of layer types is as usual where every layer has full attention.
  return std::all_of(value.begin(), value.end(),
                     [&](const Json& item) { return value.is_array() && item == "full_attention"; });
}

void check_config_fields(const Json& json, const ConfigReader& reader, const Family& family) {
  for (const auto& [name, value] : json.items()) {
    const ConfigField* field = find_config_field(family, name);
    if (field == nullptr || field->use != kFixed) continue;
    if (std::find(field->neutral.begin(), field->neutral.end(), value) != field->neutral.end()) continue;
    const std::string usual = field->neutral.back().is_null()
                                  ? "no " + name
                                  : fmt::format("{} {}", name, field->neutral.back().dump());
    std::string shown = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (shown.size() > 60) shown = shown.substr(0, 60) + "…";
    reader.fail(fmt::format(
        "expected {}, got {}: such a model computes something else, which is not supported", usual, shown));
  }
}

std::string short_list(const std::vector<std::string>& names) {
  constexpr size_t kShown = 6;
  if (names.size() <= kShown + 1) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + kShown, ", "),
                     names.size() - kShown);
}

std::string unknown_config_fields(const Json& json, const Family& family) {
  constexpr size_t kLongestName = 60;
  std::vector<std::string> names;
  for (const auto& [name, value] : json.items())
    if (!is_private(name) && !is_off(value) && find_config_field(family, name) == nullptr)
      names.push_back(name.substr(0, kLongestName));
  return short_list(names);
}

std::string unapplied_dropout(const Json& json, const Family& family) {
  std::vector<std::string> found;
  for (const auto& [name, value] : json.items()) {
    const ConfigField* field = find_config_field(family, name);
    if (field != nullptr && field->use == kDropout && value.is_number() && value.get<double>() > 0.0)
      found.push_back(fmt::format("{} {:g}", name, value.get<double>()));
  }
  return fmt::format("{}", fmt::join(found, ", "));
}

}  // namespace longlora::model
