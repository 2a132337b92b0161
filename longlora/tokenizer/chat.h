// The way from a question to the ids that a model is given, and from the ids that it writes back to text.
// A model takes ids of 64 bits, and may have rows for more ids than its tokenizer has tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/tokenizer/prompt.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// The turns that render_prompt takes: an optional system turn, then turns of the user and the assistant in
/// alternation.
using Conversation = std::vector<Turn>;

/// A conversation of one question about `material`, or about nothing where that is empty. Material stands
/// before the question, as in the released scripts; Alpaca's form has a place of its own for it.
Conversation ask(PromptForm form, const std::string& question, const std::string& material = "");

/// The ids after which the model is to write its answer to the last question of a conversation. Where the
/// last turn is the assistant's, it is the known answer and is left out. The text that ends with the last
/// question is tokenized by itself, so that no token reaches into the answer. Throws UsageError for earlier
/// answers and a tokenizer without EOS, because EOS ends them in the named forms, and InputError for what a
/// chat template refuses.
std::vector<int64_t> tokenize_question(const Tokenizer& tokenizer, const Prompt& prompt,
                                       const Conversation& conversation);

/// Does what Tokenizer::encode does, with ids of the type that a model takes.
std::vector<int64_t> encode_for_model(const Tokenizer& tokenizer, std::string_view text,
                                      bool add_special_tokens);

/// Whether the tokenizer adds BOS to the beginning of a text.
bool begins_with_bos(const Tokenizer& tokenizer);

/// Whether the id is one of the tokenizer's. A model may write other ids; those have no text.
bool has_text(const Tokenizer& tokenizer, int64_t id);

/// Does what Tokenizer::decode does, for those of the ids that have a text.
std::string decode_written(const Tokenizer& tokenizer, std::span<const int64_t> ids);

}  // namespace longlora::tokenizer
