// What transformers' AutoTokenizer adds to tokenizer.json from the files beside it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

/// Reads `content`, which is that of folder/tokenizer.json, and applies tokenizer_config.json
/// (special_tokens_map.json in older folders) as transformers 5 does: added and named special tokens, and the
/// class LlamaTokenizer, which sets its own normalizer, pre-tokenizer and decoder. Throws InputError naming
/// file and key.
PipelineSpec read_tokenizer_folder(const std::filesystem::path& folder, const std::string& content);

/// The tokenizer of a path as plain data.
struct TokenizerFiles {
  std::filesystem::path path = {};            // of the file that was read
  std::optional<PipelineSpec> pipeline = {};  // absent: SentencePiece's model
  std::string sentencepiece = {};             // the content of that
};

/// Reads what load_tokenizer makes a tokenizer of. Throws InputError as that does.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& path);

/// Fills bos_token and eos_token from the settings in `folder`. Where these say nothing, BOS is what the
/// template puts in front, and EOS is the first known name among the special tokens (</s>, <|end_of_text|>,
/// <|endoftext|>, …).
void read_named_ends(const std::filesystem::path& folder, PipelineSpec* spec);

}  // namespace longlora::tokenizer
