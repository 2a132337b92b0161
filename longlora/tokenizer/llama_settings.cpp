#include "longlora/tokenizer/llama_settings.h"

#include <fmt/core.h>

#include <charconv>
#include <set>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

// One JSON file, with errors that name it.
class SettingsFile {
 public:
  explicit SettingsFile(const fs::path& path) : path_(path), json_(Json::object()) {
    std::error_code ignored;
    if (fs::exists(path, ignored)) json_ = read_json(path);
    if (!json_.is_object()) throw wrong_type("the file", "an object", json_);
  }

  const Json* find(const std::string& key) const {
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }

  void read(const std::string& key, bool* value) const {
    const Json* json = find(key);
    if (json == nullptr || json->is_null()) return;
    if (!json->is_boolean()) throw wrong_type(key, "true or false", *json);
    *value = json->get<bool>();
  }

  // A token is written as its text or as an object with "content".
  std::string token_content(const std::string& key, const Json& json) const {
    const Json* content = &json;
    if (json.is_object() && json.contains("content")) content = &json["content"];
    if (!content->is_string() || content->get_ref<const std::string&>().empty()) {
      throw wrong_type(key, "a token's text or an object with \"content\"", json);
    }
    return content->get<std::string>();
  }

  void read(const std::string& key, std::optional<std::string>* token) const {
    const Json* json = find(key);
    if (json == nullptr) return;
    *token = json->is_null() ? std::nullopt : std::optional(token_content(key, *json));
  }

  InputError wrong_type(const std::string& key, const std::string& expected, const Json& got) const {
    std::string text = got.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 80) text = text.substr(0, 80) + "…";
    return InputError(fmt::format("[{}] expected {} to be {}, got {}", path_.string(), key, expected, text));
  }

  const Json& json() const { return json_; }

 private:
  fs::path path_;
  Json json_;
};

// Beyond this an id could only be a mistake, and would be given a table entry each.
constexpr int64_t kMaxId = 1 << 24;

int32_t checked_id(const SettingsFile& file, const std::string& key, const Json& json) {
  if (!json.is_number_integer() || json.get<int64_t>() < 0 || json.get<int64_t>() >= kMaxId) {
    throw file.wrong_type(key, "an id of at least 0", json);
  }
  return json.get<int32_t>();
}

void read_added_tokens_decoder(const SettingsFile& file, LlamaSettings* settings) {
  const Json* decoder = file.find("added_tokens_decoder");
  if (decoder == nullptr) return;
  if (!decoder->is_object()) throw file.wrong_type("added_tokens_decoder", "an object", *decoder);
  for (const auto& [key, value] : decoder->items()) {
    const std::string name = "added_tokens_decoder." + key;
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc{} || end != key.data() + key.size()) {
      throw file.wrong_type(name, "keyed by an id", Json(key));
    }
    SpecialToken token{file.token_content(name, value), checked_id(file, name, Json(id))};
    if (value.is_object()) {
      const auto flag = [&entry = value](const char* flag_name, bool* target) {
        if (entry.contains(flag_name) && entry[flag_name].is_boolean())
          *target = entry[flag_name].get<bool>();
      };
      token.special = false;
      flag("special", &token.special);
      flag("lstrip", &token.lstrip);
      flag("rstrip", &token.rstrip);
      flag("single_word", &token.single_word);
    }
    settings->added_tokens.push_back(std::move(token));
  }
}

void read_named_tokens(const SettingsFile& file, LlamaSettings* settings) {
  file.read("bos_token", &settings->bos_token);
  file.read("eos_token", &settings->eos_token);
  file.read("unk_token", &settings->unk_token);
  std::optional<std::string> pad_token;
  file.read("pad_token", &pad_token);
  if (pad_token) settings->other_special_tokens.push_back(*pad_token);
  const Json* additional = file.find("additional_special_tokens");
  if (additional == nullptr || additional->is_null()) return;
  if (!additional->is_array()) throw file.wrong_type("additional_special_tokens", "a list", *additional);
  for (const Json& token : *additional) {
    settings->other_special_tokens.push_back(file.token_content("additional_special_tokens", token));
  }
}

void warn_of_another_class(const SettingsFile& file, const fs::path& path) {
  static const std::set<std::string> kLlamaLike = {"LlamaTokenizer",          "LlamaTokenizerFast",
                                                   "CodeLlamaTokenizer",      "CodeLlamaTokenizerFast",
                                                   "PreTrainedTokenizerFast", "TokenizersBackend"};
  const Json* name = file.find("tokenizer_class");
  if (name == nullptr || !name->is_string() || kLlamaLike.contains(name->get<std::string>())) return;
  log_warning(
      fmt::format("{} names the tokenizer class {}; its tokenizer.model is read as LlamaTokenizer reads it",
                  path.string(), name->get<std::string>()));
}

}  // namespace

LlamaSettings read_llama_settings(const fs::path& folder) {
  LlamaSettings settings;
  const SettingsFile config(folder / "tokenizer_config.json");
  warn_of_another_class(config, folder / "tokenizer_config.json");
  config.read("add_bos_token", &settings.add_bos_token);
  config.read("add_eos_token", &settings.add_eos_token);
  config.read("legacy", &settings.legacy);
  config.read("add_prefix_space", &settings.add_prefix_space);
  read_named_tokens(config, &settings);
  if (config.find("added_tokens_decoder") != nullptr) {
    read_added_tokens_decoder(config, &settings);
    return settings;
  }
  // Folders written before added_tokens_decoder existed.
  read_named_tokens(SettingsFile(folder / "special_tokens_map.json"), &settings);
  const SettingsFile added(folder / "added_tokens.json");
  for (const auto& [content, id] : added.json().items()) {
    if (content.empty()) throw added.wrong_type("a token", "a text", Json(content));
    settings.added_tokens.push_back(
        {.content = content, .id = checked_id(added, content, id), .special = false});
  }
  return settings;
}

}  // namespace longlora::tokenizer
