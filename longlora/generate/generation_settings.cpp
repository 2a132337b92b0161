#include "longlora/generate/generation_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>
#include <utility>

#include "longlora/checkpoint/gguf_config.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/gguf/gguf_model.h"

namespace longlora::generate {
namespace {

namespace fs = std::filesystem;

// Reads the fields of one file.
class Fields {
 public:
  Fields(const Json& json, std::string source) : json_(json), source_(std::move(source)) {
    if (!json.is_object()) throw InputError(fmt::format("[{}] expected an object", source_));
  }

  const std::string& source() const { return source_; }

  // The value of a field, or null where the field is missing or null.
  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  [[noreturn]] void refuse(const char* key, const std::string& expected) const {
    throw InputError(fmt::format("[{}] expected {} to be {}, got {}; correct the file", source_, key,
                                 expected, json_.at(key).dump()));
  }

  void read(const char* key, std::optional<bool>* value) const {
    const Json* json = find(key);
    if (json == nullptr) return;
    if (!json->is_boolean()) refuse(key, "true or false");
    *value = json->get<bool>();
  }

  void read(const char* key, std::optional<double>* value, double least, double most,
            const char* expected) const {
    const Json* json = find(key);
    if (json == nullptr) return;
    if (!json->is_number()) refuse(key, expected);
    const auto number = json->get<double>();
    if (!(number >= least && number <= most)) refuse(key, expected);
    *value = number;
  }

  void read(const char* key, std::optional<int64_t>* value, int64_t least, const char* expected) const {
    const Json* json = find(key);
    if (json == nullptr) return;
    if (!json->is_number_integer() || json->get<int64_t>() < least) refuse(key, expected);
    *value = json->get<int64_t>();
  }

  // Appends an id, or the ids of a list.
  void append_ids(const char* key, std::vector<int64_t>* ids) const {
    const Json* json = find(key);
    if (json == nullptr) return;
    for (const Json& id : json->is_array() ? *json : Json::array({*json})) {
      if (!id.is_number_integer()) refuse(key, "an id or a list of ids");
      ids->push_back(id.get<int64_t>());
    }
  }

  void append_texts(const char* key, std::vector<std::string>* texts) const {
    const Json* json = find(key);
    if (json == nullptr) return;
    for (const Json& text : json->is_array() ? *json : Json::array({*json})) {
      if (!text.is_string()) refuse(key, "a text or a list of texts");
      texts->push_back(text.get<std::string>());
    }
  }

 private:
  const Json& json_;
  std::string source_;
};

// Names the fields of transformers' GenerationConfig that would change what is written and are not followed
// here. The values at which they change nothing are listed; null is one of them for every field.
std::vector<std::string> find_not_followed(const Fields& fields) {
  struct Field {
    const char* key;
    Json neutral;
  };
  const std::array kFields = {Field{"max_length", 20},
                              Field{"min_length", 0},
                              Field{"min_new_tokens", 0},
                              Field{"max_time", nullptr},
                              Field{"num_beams", 1},
                              Field{"num_beam_groups", 1},
                              Field{"num_return_sequences", 1},
                              Field{"penalty_alpha", 0.0},
                              Field{"dola_layers", nullptr},
                              Field{"typical_p", 1.0},
                              Field{"top_h", nullptr},
                              Field{"epsilon_cutoff", 0.0},
                              Field{"eta_cutoff", 0.0},
                              Field{"no_repeat_ngram_size", 0},
                              Field{"bad_words_ids", nullptr},
                              Field{"force_words_ids", nullptr},
                              Field{"constraints", nullptr},
                              Field{"sequence_bias", nullptr},
                              Field{"suppress_tokens", nullptr},
                              Field{"begin_suppress_tokens", nullptr},
                              Field{"forced_bos_token_id", nullptr},
                              Field{"forced_eos_token_id", nullptr},
                              Field{"exponential_decay_length_penalty", nullptr},
                              Field{"guidance_scale", 1.0},
                              Field{"watermarking_config", nullptr},
                              Field{"encoder_repetition_penalty", 1.0},
                              Field{"encoder_no_repeat_ngram_size", 0}};
  std::vector<std::string> found;
  for (const Field& field : kFields) {
    const Json* json = fields.find(field.key);
    if (json == nullptr || *json == field.neutral || (json->is_array() && json->empty())) continue;
    found.push_back(fmt::format("{} {}", field.key, json->dump()));
  }
  return found;
}

GenerationSettings read_fields(const Fields& fields) {
  GenerationSettings settings;
  settings.source = fields.source();
  fields.read("do_sample", &settings.do_sample);
  constexpr double kLeast = std::numeric_limits<double>::min(), kMost = std::numeric_limits<double>::max();
  fields.read("temperature", &settings.temperature, 0.0, kMost, "a number of at least 0");
  fields.read("top_p", &settings.top_p, kLeast, 1.0, "a number above 0 and up to 1");
  fields.read("min_p", &settings.min_p, 0.0, 1.0, "a number from 0 to 1");
  fields.read("repetition_penalty", &settings.repetition_penalty, kLeast, kMost, "a number above 0");
  fields.read("top_k", &settings.top_k, 0, "a whole number of at least 0");
  fields.read("max_new_tokens", &settings.max_new_tokens, 1, "a whole number above 0");
  fields.append_texts("stop_strings", &settings.stop_strings);
  for (const char* key : {"do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"})
    if (const Json* json = fields.find(key))
      settings.sampling.push_back(fmt::format("{} {}", key, json->dump()));
  settings.not_followed = find_not_followed(fields);
  return settings;
}

}  // namespace

GenerationSettings read_generation_settings(const fs::path& model_folder, const Json& model_config) {
  const fs::path path = model_folder / "generation_config.json";
  const Json empty = Json::object();
  const Fields of_model(model_config.is_null() ? empty : model_config,
                        (model_folder / "config.json").string());
  GenerationSettings settings;
  if (fs::exists(path)) {
    const Json json = read_json(path);
    const Fields fields(json, path.string());
    settings = read_fields(fields);
    fields.append_ids("eos_token_id", &settings.eos_ids);
  } else {
    settings = read_fields(of_model);
  }
  of_model.append_ids("eos_token_id", &settings.eos_ids);
  return settings;
}

GenerationSettings read_and_log_settings(const fs::path& base_model, Decoding decoding) {
  const fs::path file = base_model / "config.json";
  Json config = Json::object();
  if (const auto model = gguf::find_model(base_model))
    config = checkpoint::gguf_generation_config(gguf::GgufModel::open(*model).metadata());
  else if (fs::exists(file))
    config = read_json(file);
  const auto settings = read_generation_settings(base_model, config);
  std::vector<std::string> ignored = settings.not_followed;
  if (decoding == Decoding::kGreedy)
    for (const std::string& field : settings.sampling)
      if (settings.do_sample.value_or(true) || field.starts_with("repetition_penalty"))
        ignored.push_back(field);
  if (!ignored.empty())
    log_info(fmt::format("{}: not followed{}: {}", settings.source,
                         decoding == Decoding::kGreedy ? " (the likeliest token is taken)" : "",
                         fmt::join(ignored, ", ")));
  return settings;
}

SamplingOptions choose_sampling(const GenerationSettings& settings, const SamplingWishes& wishes) {
  SamplingOptions options;
  options.seed = wishes.seed;
  options.repetition_penalty = wishes.repetition_penalty.value_or(settings.repetition_penalty.value_or(1.0));
  const bool is_wished = wishes.temperature || wishes.top_p || wishes.top_k || wishes.min_p;
  const bool names_some = settings.temperature || settings.top_p || settings.top_k || settings.min_p;
  if (settings.do_sample.value_or(names_some)) {
    options.temperature = settings.temperature.value_or(1.0);
    options.top_p = settings.top_p.value_or(1.0);
    options.top_k = settings.top_k.value_or(50);
    options.min_p = settings.min_p.value_or(0.0);
  } else if (settings.do_sample && !is_wished) {
    options.temperature = 0.0;
  }
  options.temperature = wishes.temperature.value_or(options.temperature);
  options.top_p = wishes.top_p.value_or(options.top_p);
  options.top_k = wishes.top_k.value_or(options.top_k);
  options.min_p = wishes.min_p.value_or(options.min_p);
  return options;
}

std::string describe_sampling(const SamplingOptions& options) {
  std::vector<std::string> parts;
  if (options.temperature == 0.0) {
    parts.emplace_back("always the likeliest token");
  } else {
    parts.push_back(fmt::format("temperature {:g}, top_p {:g}", options.temperature, options.top_p));
    if (options.top_k > 0) parts.push_back(fmt::format("top_k {}", options.top_k));
    if (options.min_p > 0.0) parts.push_back(fmt::format("min_p {:g}", options.min_p));
  }
  if (options.repetition_penalty != 1.0)
    parts.push_back(fmt::format("repetition_penalty {:g}", options.repetition_penalty));
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace longlora::generate
