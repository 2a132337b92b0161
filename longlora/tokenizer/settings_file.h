// One JSON file of settings, with errors that name it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

/// A JSON object in a file, read key by key. All readers throw InputError naming file and key for a value of
/// the wrong type; a key that is not there leaves the target as it is.
class SettingsFile {
 public:
  /// A file that does not exist counts as an empty object.
  explicit SettingsFile(const std::filesystem::path& path);

  /// Null where the key is not there.
  const Json* find(const std::string& key) const;
  void read(const std::string& key, bool* value) const;
  void read(const std::string& key, std::string* value) const;
  /// A token: its text, an object with "content", or null for none.
  void read(const std::string& key, std::optional<std::string>* token) const;
  /// A list of tokens.
  void read(const std::string& key, std::vector<std::string>* tokens) const;
  /// added_tokens_decoder: tokens by id. Nothing where the key is not there.
  std::optional<std::vector<AddedToken>> read_added_tokens() const;

  std::string token_content(const std::string& key, const Json& json) const;
  int32_t checked_id(const std::string& key, const Json& json) const;
  InputError wrong_type(const std::string& key, const std::string& expected, const Json& got) const;
  const Json& json() const { return json_; }

 private:
  std::filesystem::path path_;
  Json json_;
};

}  // namespace longlora::tokenizer
