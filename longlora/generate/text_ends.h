// Finds what ends a text that a model writes, from everything that its files say about it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "longlora/generate/generation_settings.h"
#include "longlora/generate/text_generation.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::generate {

/// Where the ends of a model's texts are looked for.
struct TextEndSources {
  const GenerationSettings& settings;     // for its ids and stop strings
  const tokenizer::Tokenizer& tokenizer;  // for its EOS
  std::string chat_template;              // for what it writes at the end of a turn
  std::filesystem::path tokenizer_path;   // for the tokens that the template may name
  /// The form that the model is asked in, for the texts that end its answers. nullopt: plain text.
  std::optional<tokenizer::PromptForm> form = {};
  int64_t vocab_size = 0;  // the number of rows of the embedding; an id beyond them can never come
};

/// Every end that one of the sources names. An id outside the vocabulary is left out with a warning. Throws
/// InputError for a chat template that is no text.
TextEnds find_text_ends(const TextEndSources& sources);

}  // namespace longlora::generate
