// Keeps tokenized samples beside the file that they were made from.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/data/instruction_tokens.h"
#include "longlora/data/unread_fields.h"

namespace longlora::data {

/// The samples of a file as ids, before any of them is shortened.
struct TokenizedInstructions {
  std::vector<InstructionTokens> samples;
  std::vector<std::string> problems;  // what is wrong with each sample that was left out
  UnreadFields unread = {};
};

/// A hexadecimal hash of everything that decides the ids: the bytes of the file, the tokenizer (its
/// fingerprint, and whether it puts BOS) and the form.
std::string instruction_cache_key(std::string_view file_bytes, const tokenizer::Tokenizer& tokenizer,
                                  const tokenizer::Prompt& prompt);

/// The path of the cache: "FILE.<first 16 digits of the key>.tokens".
std::filesystem::path instruction_cache_path(const std::filesystem::path& file, const std::string& key);

/// Returns nullopt where there is no such file. Where it is damaged or has another key, a warning says so and
/// the function returns nullopt, too. Whatever the file holds, a result is sound: ids are below `vocab_size`,
/// and ranges lie inside their samples.
std::optional<TokenizedInstructions> read_instruction_cache(const std::filesystem::path& cache,
                                                            const std::string& key, int64_t vocab_size);

/// Writes the cache aside and renames it. Where that fails a message says so, and the program goes on.
void write_instruction_cache(const std::filesystem::path& cache, const std::string& key,
                             const TokenizedInstructions& instructions);

}  // namespace longlora::data
