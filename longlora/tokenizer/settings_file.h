// A JSON file of settings, with errors that name the file.
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
/// the wrong type. Where the file lacks the key, the target stays as it is.
class SettingsFile {
 public:
  /// A file that does not exist counts as an empty object.
  explicit SettingsFile(const std::filesystem::path& path);

  /// The value of a key, or null where the file lacks it.
  const Json* find(const std::string& key) const;
  void read(const std::string& key, bool* value) const;
  void read(const std::string& key, std::string* value) const;
  /// Reads a token, which is written as its text, as an object with "content", or as null for none.
  void read(const std::string& key, std::optional<std::string>* token) const;
  /// Reads a list of tokens.
  void read(const std::string& key, std::vector<std::string>* tokens) const;
  /// Reads added_tokens_decoder: tokens by id. Returns nullopt where the file lacks the key.
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
