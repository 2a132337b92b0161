// One function for each parser of tokenizer files: what must hold for any bytes whatever. The fuzz
// targets call them with bytes of libFuzzer, and fuzz_tokenizer_test with the cases that were found.
#pragma once

#include <string_view>

namespace longlora::fuzz {

/// Each returns when the bytes were read, texts encoded and decoded with the result, or anything of it
/// refused with InputError; anything else (another exception, an id outside the vocabulary) ends the process.
void parse_tokenizer_json(std::string_view bytes);
void parse_sentencepiece_model(std::string_view bytes);
void parse_tiktoken_file(std::string_view bytes);

}  // namespace longlora::fuzz
