// What a model's chat template tells: the form of the turns, and the token that ends a turn.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// The template that transformers uses for a folder: chat_template.jinja, else the "chat_template" of
/// tokenizer_config.json (of several the one named "default"), else that of chat_template.json. The text is
/// empty where there is none. `path` may also be a tokenizer file, and then stands for its folder. Throws
/// InputError naming the file where a template is no text.
std::string read_chat_template(const std::filesystem::path& path);

/// The template of the first of these paths that has one. A tokenizer that was saved beside an adapter may
/// lack the template, and still belongs to a model that has one. Empty paths are skipped.
std::string find_chat_template(const std::vector<std::filesystem::path>& paths);

/// The prompt form whose markers the template writes, or nullopt for a template of another form.
std::optional<PromptForm> form_of_template(const std::string& chat_template);

/// The token that the template writes behind the assistant's words, and with which a model that was taught by
/// it ends its answer (<|im_end|>, <|eot_id|>, <end_of_turn> …). Templates are programs; this one is not run
/// but searched for the first control token behind a place that writes the assistant's content. Returns
/// nullopt where that token is EOS, and where no token ends the words.
std::optional<int32_t> turn_end_of_template(const std::string& chat_template, const Tokenizer& tokenizer);

}  // namespace longlora::tokenizer
