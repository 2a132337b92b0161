// The files of tiktoken: each line holds one token in base64 and its rank.
#pragma once

#include <filesystem>
#include <string_view>

#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

/// Whether the content looks like such a file.
bool is_tiktoken_file(std::string_view content);

/// Reads the content of such a file. The file has neither special tokens nor a splitting rule: these are
/// taken from the model that it belongs to, which its number of tokens tells: Llama 3 (128,000; BOS in front
/// of a text) or Qwen (151,643; normal form C). A file of another size gets Llama 3's rule and the tokens
/// that added_tokens_decoder in a tokenizer_config.json of `folder` lists. Throws InputError naming `source`
/// and the line.
PipelineSpec parse_tiktoken_file(std::string_view content, const std::string& source,
                                 const std::filesystem::path& folder);

}  // namespace longlora::tokenizer
