#include "longlora/tokenizer/settings_file.h"

#include <fmt/core.h>

#include <charconv>
#include <utility>

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

// A larger id could only be a mistake, and every id up to the largest gets an entry in a table.
constexpr int64_t kMaxId = 1 << 24;

}  // namespace

SettingsFile::SettingsFile(const fs::path& path) : path_(path), json_(Json::object()) {
  std::error_code ignored;
  if (fs::exists(path, ignored)) json_ = read_json(path);
  if (!json_.is_object()) throw wrong_type("the file", "an object", json_);
}

const Json* SettingsFile::find(const std::string& key) const {
  const auto found = json_.find(key);
  return found == json_.end() ? nullptr : &*found;
}

void SettingsFile::read(const std::string& key, bool* value) const {
  const Json* json = find(key);
  if (json == nullptr || json->is_null()) return;
  if (!json->is_boolean()) throw wrong_type(key, "true or false", *json);
  *value = json->get<bool>();
}

void SettingsFile::read(const std::string& key, std::string* value) const {
  const Json* json = find(key);
  if (json == nullptr || json->is_null()) return;
  if (!json->is_string()) throw wrong_type(key, "a text", *json);
  *value = json->get<std::string>();
}

void SettingsFile::read(const std::string& key, std::optional<std::string>* token) const {
  const Json* json = find(key);
  if (json == nullptr) return;
  *token = json->is_null() ? std::nullopt : std::optional(token_content(key, *json));
}

void SettingsFile::read(const std::string& key, std::vector<std::string>* tokens) const {
  const Json* list = find(key);
  if (list == nullptr || list->is_null()) return;
  if (!list->is_array()) throw wrong_type(key, "a list", *list);
  for (const Json& token : *list) tokens->push_back(token_content(key, token));
}

std::optional<std::vector<AddedToken>> SettingsFile::read_added_tokens() const {
  const std::string kKey = "added_tokens_decoder";
  const Json* decoder = find(kKey);
  if (decoder == nullptr) return std::nullopt;
  if (!decoder->is_object()) throw wrong_type(kKey, "an object", *decoder);
  std::vector<AddedToken> tokens;
  for (const auto& [key, value] : decoder->items()) {
    const std::string name = fmt::format("{}.{}", kKey, key);
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc{} || end != key.data() + key.size())
      throw wrong_type(name, "keyed by an id", Json(key));
    AddedToken token;
    token.content = token_content(name, value);
    token.id = checked_id(name, Json(id));
    token.special = !value.is_object();
    const auto read_flag = [&entry = value](const char* flag_name, bool* target) {
      if (entry.is_object() && entry.contains(flag_name) && entry[flag_name].is_boolean())
        *target = entry[flag_name].get<bool>();
    };
    read_flag("special", &token.special);
    read_flag("lstrip", &token.lstrip);
    read_flag("rstrip", &token.rstrip);
    read_flag("single_word", &token.single_word);
    token.normalized = !token.special;
    read_flag("normalized", &token.normalized);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// A token is written as its text or as an object with "content".
std::string SettingsFile::token_content(const std::string& key, const Json& json) const {
  const Json* content = &json;
  if (json.is_object() && json.contains("content")) content = &json["content"];
  if (!content->is_string() || content->get_ref<const std::string&>().empty())
    throw wrong_type(key, "a token's text or an object with \"content\"", json);
  return content->get<std::string>();
}

int32_t SettingsFile::checked_id(const std::string& key, const Json& json) const {
  if (!json.is_number_integer() || json.get<int64_t>() < 0 || json.get<int64_t>() >= kMaxId)
    throw wrong_type(key, "an id of at least 0", json);
  return json.get<int32_t>();
}

InputError SettingsFile::wrong_type(const std::string& key, const std::string& expected,
                                    const Json& got) const {
  std::string text = got.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 80) + "…";
  return InputError(fmt::format("[{}] expected {} to be {}, got {}", path_.string(), key, expected, text));
}

}  // namespace longlora::tokenizer
