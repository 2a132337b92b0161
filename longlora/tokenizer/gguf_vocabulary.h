// The tokenizer of a folder as GGUF files hold it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "longlora/gguf/gguf_writer.h"

namespace longlora::tokenizer {

/// What the model says about its tokens.
struct GgufTokenizerOptions {
  /// Rows of the embedding. Ids without a token get one that no text has; tokens without a row are left out,
  /// with a warning.
  int64_t vocab_size = 0;
  /// The ids that end a text. The first that is not the tokenizer's own EOS goes by eot_token_id, the next by
  /// eom_token_id.
  std::vector<int64_t> end_ids = {};
};

/// Adds the keys below "tokenizer.ggml." of what load_tokenizer finds in `folder`: SentencePiece's BPE as
/// `llama`, byte-level BPE as `gpt2` with the name of its pre-tokenizer. Throws InputError for what these
/// kinds cannot say (another model, split or normalizer); what llama.cpp does otherwise in rare texts is
/// logged. The chat template is not among them.
void add_gguf_tokenizer(const std::filesystem::path& folder, const GgufTokenizerOptions& options,
                        gguf::MetadataWriter& metadata);

}  // namespace longlora::tokenizer
