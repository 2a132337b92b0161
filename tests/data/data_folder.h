// Tokenizers and token files for the tests of this room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/tokenizer/tokenizer.h"
#include "tests/support/temporary_directory.h"

namespace longlora::data {

inline const std::filesystem::path kStories = LONGLORA_SOURCE_DIR "/tests/data/stories260K_tokenizer";

/// A tokenizer of 512 pieces with the given settings.
inline std::unique_ptr<tokenizer::Tokenizer> stories_tokenizer(const Json& config = Json::object()) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "tokenizer.model", read_file(kStories / "tokenizer.model"));
  write_json(folder / "tokenizer_config.json", config);
  return tokenizer::load_tokenizer(folder.path());
}

template <typename Id>
void write_ids(const std::filesystem::path& path, const std::vector<Id>& ids) {
  write_file_atomic(path,
                    std::string_view(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(Id)));
}

/// `text` as one document.
inline std::vector<int64_t> ids_of(const tokenizer::Tokenizer& tokenizer, const std::string& text) {
  const tokenizer::Ids ids = tokenizer.encode(text, false);
  std::vector<int64_t> result(ids.begin(), ids.end());
  result.push_back(*tokenizer.eos_id());
  return result;
}

inline std::vector<int64_t> joined(std::vector<int64_t> first, const std::vector<int64_t>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace longlora::data
