// How byte-level BPE splits text, by the names that llama.cpp gives to pre-tokenizers.
#pragma once

#include <string>
#include <string_view>

#include "longlora/core/json.h"
#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

struct GgufPreTokenizer {
  const char* regex;   // what is split off; null: as GPT-2 does
  bool digits;         // each digit is split off before that
  bool ignore_merges;  // a word that is in the vocabulary is taken whole
  bool adds_bos;       // where the file does not say it
};

/// The pre-tokenizer of a name in tokenizer.ggml.pre; null for one that is not known.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

/// Sets the steps of tokenizer.json that split text so and put it together again.
void set_byte_level_steps(const GgufPreTokenizer& pre_tokenizer, Json& pipeline);

/// The name of the pre-tokenizer that splits and merges as `spec` does; null where none does.
const char* name_gguf_pre_tokenizer(const PipelineSpec& spec);

/// The names that are known, for a message.
std::string gguf_pre_tokenizer_names();

}  // namespace longlora::tokenizer
