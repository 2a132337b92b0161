// Every case that fuzzing kept, through the parser it was found for: none may do more than throw InputError.
#include <gtest/gtest.h>

#include <filesystem>

#include "longlora/core/file.h"
#include "tests/fuzz/parsers.h"

namespace longlora::fuzz {
namespace {

void replay(const char* name, void (*parse)(std::string_view)) {
  const auto cases = list_directory(std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests/fuzz/corpus" / name);
  ASSERT_FALSE(cases.empty());
  for (const auto& path : cases) {
    SCOPED_TRACE(path.filename().string());
    EXPECT_NO_THROW(parse(read_file(path)));
  }
}

TEST(FuzzCorpus, SafetensorsAreReadOrRefused) {
  replay("safetensors", parse_safetensors);
}

TEST(FuzzCorpus, TorchFilesAreReadOrRefused) {
  replay("torch_file", parse_torch_file);
}

TEST(FuzzCorpus, ConfigsAreReadOrRefused) {
  replay("config", parse_config);
}

TEST(FuzzCorpus, AdapterConfigsAreReadOrRefused) {
  replay("adapter_config", parse_adapter_config);
}

TEST(FuzzCorpus, MetaParamsAreReadOrRefused) {
  replay("meta_params", parse_meta_params);
}

TEST(FuzzCorpus, StatesOfNf4WeightsAreReadOrRefused) {
  replay("nf4_weight", parse_nf4_weight);
}

TEST(FuzzCorpus, GgufFilesAreReadOrRefused) {
  replay("gguf", parse_gguf);
}

TEST(FuzzCorpus, TokenizersInGgufAreReadOrRefused) {
  replay("gguf_tokenizer", parse_gguf_tokenizer);
}

TEST(FuzzCorpus, InstructionsAreReadOrRefused) {
  replay("instructions", parse_instructions);
}

TEST(FuzzCorpus, ChatTemplatesAreRunOrRefused) {
  replay("chat_template", parse_chat_template);
}

TEST(FuzzCorpus, TokenizerJsonIsReadOrRefused) {
  replay("tokenizer_json", parse_tokenizer_json);
}

TEST(FuzzCorpus, SentencePieceModelsAreReadOrRefused) {
  replay("sentencepiece", parse_sentencepiece);
}

TEST(FuzzCorpus, TiktokenFilesAreReadOrRefused) {
  replay("tiktoken", parse_tiktoken);
}

}  // namespace
}  // namespace longlora::fuzz
