// One function for each parser of strangers' files: what must hold for any bytes whatever. The fuzz
// targets call them with bytes of libFuzzer, and fuzz_corpus_test with the cases that were found.
#pragma once

#include <string_view>

namespace longlora::fuzz {

/// Each returns when the bytes were read or refused with InputError; anything
/// else (another exception, a tensor outside the file) ends the process.
void parse_safetensors(std::string_view bytes);
void parse_torch_file(std::string_view bytes);
void parse_config(std::string_view bytes);
void parse_adapter_config(std::string_view bytes);
void parse_instructions(std::string_view bytes);

}  // namespace longlora::fuzz
