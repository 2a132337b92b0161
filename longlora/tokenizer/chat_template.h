// What a model's chat template says: the form of its turns, and what ends one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// The template that transformers uses for a folder: chat_template.jinja, else "chat_template" of
/// tokenizer_config.json (of several the one named "default"), else that of chat_template.json. Empty where
/// there is none. `path` may also be a tokenizer file: its folder is meant. Throws InputError naming the file
/// where a template is no text.
std::string read_chat_template(const std::filesystem::path& path);

/// The first template that one of these has: a tokenizer that was saved without it beside an adapter still
/// belongs to a model that chats by its own. Empty paths count for nothing.
std::string find_chat_template(const std::vector<std::filesystem::path>& paths);

/// The form whose markers the template writes; nothing for a template of another form.
std::optional<PromptForm> form_of_template(const std::string& chat_template);

/// The token that the template writes behind the assistant's words, and with which a model that was taught by
/// it ends its answer (<|im_end|>, <|eot_id|>, <end_of_turn> …). Templates are programs; this one is not run,
/// but searched for the first control token behind an output of the assistant's content. Nothing where that
/// is EOS, or where the end is no token.
std::optional<int32_t> turn_end_of_template(const std::string& chat_template, const Tokenizer& tokenizer);

}  // namespace longlora::tokenizer
