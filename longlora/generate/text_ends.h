// What ends a text that a model writes, of all that its files say about it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "longlora/generate/generation_settings.h"
#include "longlora/generate/text_generation.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::generate {

/// How the tokens of a verb are picked.
enum class Decoding {
  kSampled,  // as the model's files and the user say
  kGreedy,   // the likeliest, whatever they say
};

/// What the files in `base_model` say about writing (read_generation_settings); one line names what of it is
/// not followed. Throws InputError.
GenerationSettings read_settings(const std::filesystem::path& base_model, Decoding decoding);

/// Where the ends of a model's texts are looked for.
struct TextEndSources {
  const GenerationSettings& settings;     // its ids and stop strings
  const tokenizer::Tokenizer& tokenizer;  // its EOS
  std::string chat_template;              // what it ends a turn with
  /// The form that the model is asked in: what its answers were taught to end with. None: plain text.
  std::optional<tokenizer::PromptForm> form = {};
  int64_t vocab_size = 0;  // rows of the embedding; an id beyond them can never come
};

/// Every end that one of the sources names. An id outside the vocabulary is left out with a warning. Throws
/// InputError for a chat template that is no text.
TextEnds find_text_ends(const TextEndSources& sources);

}  // namespace longlora::generate
