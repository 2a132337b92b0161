// The tokenizer in a GGUF file, as the files of a Hugging Face folder say the same.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/gguf/metadata.h"
#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

/// What is read from a GGUF file; vocabulary and merges, which are most of it, stand beside the rest.
struct GgufTokenizer {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;
  Json pipeline;  // tokenizer.json without vocabulary and merges
  Json settings;  // tokenizer_config.json, with the chat template
};

/// Whether the file has a tokenizer of any kind; some are made without one.
bool has_gguf_tokenizer(const gguf::Metadata& metadata);

/// Reads the keys below "tokenizer.". Kinds: `llama` (SentencePiece's pieces with scores) and `gpt2`
/// (byte-level BPE), whose pre-tokenizer goes by its name in tokenizer.ggml.pre. docs/data-formats.md has the
/// rules. Throws InputError that names file and key: another kind, a pre-tokenizer that is not known, lists
/// of different lengths, tokens that are no UTF-8, ids outside the vocabulary.
GgufTokenizer read_gguf_tokenizer(const gguf::Metadata& metadata);

/// What PipelineTokenizer runs.
PipelineSpec gguf_pipeline(const gguf::Metadata& metadata);

/// tokenizer.json, whole.
Json gguf_tokenizer_json(GgufTokenizer tokenizer);

/// The chat template in the file; empty where there is none. Of several the one that is called default.
std::string gguf_chat_template(const gguf::Metadata& metadata);

}  // namespace longlora::tokenizer
