// Tokenized samples, kept beside the file that they were made from.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/data/instruction_tokens.h"
#include "longlora/data/unread_fields.h"

namespace longlora::data {

/// A file of samples as ids, before any is shortened.
struct TokenizedInstructions {
  std::vector<InstructionTokens> samples;
  std::vector<std::string> problems;  // what is wrong with each sample that is not among them
  UnreadFields unread = {};
};

/// What decides the ids: the file's bytes, the tokenizer (its fingerprint,
/// whether it puts BOS) and the form. Hexadecimal.
std::string instruction_cache_key(std::string_view file_bytes, const tokenizer::Tokenizer& tokenizer,
                                  tokenizer::PromptForm form);

/// "FILE.<first 16 digits of the key>.tokens".
std::filesystem::path instruction_cache_path(const std::filesystem::path& file, const std::string& key);

/// Nothing where there is no such file, or it is damaged or of another key,
/// which a warning says. Whatever the file holds, what is returned is sound: ids
/// below `vocab_size`, ranges inside their samples.
std::optional<TokenizedInstructions> read_instruction_cache(const std::filesystem::path& cache,
                                                            const std::string& key, int64_t vocab_size);

/// Written aside and renamed. Where it cannot be written that is said, and no error.
void write_instruction_cache(const std::filesystem::path& cache, const std::string& key,
                             const TokenizedInstructions& instructions);

}  // namespace longlora::data
