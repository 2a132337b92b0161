// Every case that fuzzing kept, through the parser it was found for: none may do more than throw InputError.
#include <gtest/gtest.h>

#include <filesystem>

#include "longlora/core/file.h"
#include "tests/fuzz/tokenizer/parsers.h"

namespace longlora::fuzz {
namespace {

void replay(const char* name, void (*parse)(std::string_view)) {
  const auto cases =
      list_directory(std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests/fuzz/tokenizer/corpus" / name);
  ASSERT_FALSE(cases.empty());
  for (const auto& path : cases) {
    SCOPED_TRACE(path.filename().string());
    EXPECT_NO_THROW(parse(read_file(path)));
  }
}

TEST(FuzzTokenizer, TokenizerJsonIsReadOrRefused) {
  replay("tokenizer_json", parse_tokenizer_json);
}

TEST(FuzzTokenizer, SentencePieceModelsAreReadOrRefused) {
  replay("sentencepiece", parse_sentencepiece_model);
}

TEST(FuzzTokenizer, TiktokenFilesAreReadOrRefused) {
  replay("tiktoken", parse_tiktoken_file);
}

}  // namespace
}  // namespace longlora::fuzz
