// Folders with a tokenizer, made for one test.
#pragma once

#include <string>

#include "longlora/core/json.h"
#include "longlora/tokenizer/tokenizer.h"
#include "tests/support/temporary_directory.h"

namespace longlora::tokenizer {

inline const std::filesystem::path kData = LONGLORA_SOURCE_DIR "/tests/data";

/// A folder with a SentencePiece model of Llama 2's kind, of 8000 pieces, and the given JSON files beside it.
class TokenizerFolder : public test::TemporaryDirectory {
 public:
  explicit TokenizerFolder(const Json& files = Json::object(),
                           const std::filesystem::path& model = kData / "novels_tokenizer/tokenizer.model") {
    write_file_atomic(*this / "tokenizer.model", read_file(model));
    for (const auto& [name, content] : files.items()) write_json(*this / name, content);
  }
};

/// That model with the settings of Llama 2.
inline std::unique_ptr<Tokenizer> llama2(bool legacy) {
  const Json config{{"legacy", legacy}};
  return load_tokenizer(TokenizerFolder(Json{{"tokenizer_config.json", config}}).path());
}

}  // namespace longlora::tokenizer
