// tokenizer.json, the file of Hugging Face's tokenizers library.
#pragma once

#include <string>
#include <string_view>

#include "longlora/core/json.h"
#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

/// Reads the content of a tokenizer.json; `source` names it in errors. Truncation and padding are ignored,
/// because transformers switches them off. Throws InputError naming the component for anything that is
/// malformed or not supported (docs/data-formats.md lists what is).
PipelineSpec parse_tokenizer_json(std::string_view text, const std::string& source);

namespace internal {

/// Fills `spec` from the members of the file other than vocabulary and merges.
void read_pipeline(const Json& json, PipelineSpec* spec);

}  // namespace internal

}  // namespace longlora::tokenizer
