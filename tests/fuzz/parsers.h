// One function for each parser of strangers' files: what must hold for any bytes whatever. The fuzz
// targets call them with bytes of libFuzzer, and fuzz_corpus_test with the cases that were found.
#pragma once

#include <string_view>

namespace longlora::fuzz {

/// Ends the process with `what` where the condition does not hold.
void require(bool condition, const char* what);

/// Each returns when the bytes were read or refused with InputError; anything
/// else (another exception, a tensor outside the file) ends the process.
void parse_safetensors(std::string_view bytes);
void parse_torch_file(std::string_view bytes);
void parse_config(std::string_view bytes);
void parse_adapter_config(std::string_view bytes);
void parse_meta_params(std::string_view bytes);
/// Safetensors with what describes weights in NF4.
void parse_nf4_weight(std::string_view bytes);
/// GGUF: every value is asked for in every way, and blocks of every tensor are dequantised.
void parse_gguf(std::string_view bytes);
void parse_instructions(std::string_view bytes);
/// Templates of chats: read, and run with conversations.
void parse_chat_template(std::string_view bytes);
/// Of tokenizers: texts are encoded and decoded with what was read.
void parse_tokenizer_json(std::string_view bytes);
void parse_sentencepiece(std::string_view bytes);
void parse_tiktoken(std::string_view bytes);
void parse_gguf_tokenizer(std::string_view bytes);

}  // namespace longlora::fuzz
