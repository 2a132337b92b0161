// The parsers of tokenizer files.
#include <string>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/utf8.h"
#include "longlora/gguf/gguf_file.h"
#include "longlora/tokenizer/gguf_tokenizer.h"
#include "longlora/tokenizer/llama_tokenizer.h"
#include "longlora/tokenizer/pipeline_tokenizer.h"
#include "longlora/tokenizer/tiktoken.h"
#include "longlora/tokenizer/tokenizer_json.h"
#include "tests/fuzz/parsers.h"

namespace longlora::fuzz {
namespace {

void use(const tokenizer::Tokenizer& tokenizer, std::string_view bytes) {
  const std::string texts[] = {"", "  Hello world's 123\r\n\n\té日🦙 <s></s><|endoftext|> -- x_y",
                               std::string(bytes.substr(0, 300)),
                               std::string(bytes.substr(bytes.size() / 2, 300))};
  for (const std::string& text : texts) {
    const tokenizer::Ids ids = tokenizer.encode(text, true);
    for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size(), "ids lie in the vocabulary");
    const std::string decoded = tokenizer.decode(ids);
    require(find_invalid_utf8(decoded) == std::string::npos, "decoded text is UTF-8");
    require(find_invalid_utf8(tokenizer.decode_with_special_tokens(ids)) == std::string::npos,
            "decoded text is UTF-8");
  }
  require(tokenizer.bos_id().value_or(-1) < tokenizer.vocab_size(), "BOS lies in the vocabulary");
}

}  // namespace

void parse_tokenizer_json(std::string_view bytes) {
  try {
    use(tokenizer::PipelineTokenizer(tokenizer::parse_tokenizer_json(bytes, "fuzz.json")), bytes);
  } catch (const InputError&) {
  }
}

void parse_sentencepiece(std::string_view bytes) {
  for (const bool legacy : {true, false}) {
    tokenizer::LlamaSettings settings;
    settings.legacy = legacy;
    try {
      use(tokenizer::LlamaTokenizer(std::string(bytes), settings, "fuzz.model"), bytes);
    } catch (const InputError&) {
    }
  }
}

void parse_tiktoken(std::string_view bytes) {
  tokenizer::is_tiktoken_file(bytes);
  try {
    use(tokenizer::PipelineTokenizer(tokenizer::parse_tiktoken_file(bytes, "fuzz.tiktoken", "/nonexistent")),
        bytes);
  } catch (const InputError&) {
  }
}

void parse_gguf_tokenizer(std::string_view bytes) {
  try {
    const gguf::GgufFile file = gguf::parse_gguf(bytes, "fuzz.gguf");
    tokenizer::gguf_chat_template(file.metadata);
    use(tokenizer::PipelineTokenizer(tokenizer::gguf_pipeline(file.metadata)), bytes);
    // What is written is read again.
    const Json json = tokenizer::gguf_tokenizer_json(tokenizer::read_gguf_tokenizer(file.metadata));
    use(tokenizer::PipelineTokenizer(tokenizer::parse_tokenizer_json(json.dump(), "fuzz.json")), bytes);
  } catch (const InputError&) {
  }
}

}  // namespace longlora::fuzz
