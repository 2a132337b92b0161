// The files beside tokenizer.model that change what Hugging Face's LlamaTokenizer does.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/tokenizer/special_tokens.h"

namespace longlora::tokenizer {

/// What tokenizer_config.json, special_tokens_map.json and added_tokens.json say. A value that they do not
/// state is Llama's own.
struct LlamaSettings {
  bool add_bos_token = true;
  bool add_eos_token = false;
  /// Where a leading space is put. True: in front of every stretch of text between special tokens (Hugging
  /// Face's first behaviour, and its default until version 5). False: in front of the text only.
  bool legacy = true;
  bool add_prefix_space = true;
  std::optional<std::string> bos_token = "<s>";
  std::optional<std::string> eos_token = "</s>";
  std::optional<std::string> unk_token = "<unk>";
  /// The padding token and additional special tokens.
  std::vector<std::string> other_special_tokens;
  /// Tokens whose ids the files state (added_tokens_decoder, added_tokens.json).
  std::vector<SpecialToken> added_tokens;
};

/// Reads the settings of a folder; a file that does not exist is skipped. Throws InputError naming file and
/// key for a value of the wrong type.
LlamaSettings read_llama_settings(const std::filesystem::path& folder);

}  // namespace longlora::tokenizer
