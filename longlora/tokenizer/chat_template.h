// Finds a model's chat template, and tells the form of its turns and what ends one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/run_template.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// The template that transformers uses for a folder: chat_template.jinja, else the "chat_template" of
/// tokenizer_config.json (of several the one named "default"), else that of chat_template.json. The text is
/// empty where there is none and, with a warning, where there are several and none is the default. Those of
/// additional_chat_templates have other names, and are for other purposes (tools, retrieval). `path` may also
/// be a tokenizer file, and then stands for its folder. Throws InputError naming the file where a template is
/// no text.
std::string read_chat_template(const std::filesystem::path& path);

/// The template of the first of these paths that has one. A tokenizer that was saved beside an adapter may
/// lack the template, and still belongs to a model that has one. Empty paths are skipped.
std::string find_chat_template(const std::vector<std::filesystem::path>& paths);

/// The prompt form whose markers the template writes, or nullopt for a template of another form.
std::optional<PromptForm> form_of_template(const std::string& chat_template);

/// What the template writes behind the assistant's words, and with which a model that was taught by it ends
/// its answer (<|im_end|>, <|eot_id|>, <end_of_turn> …). The template is run to find it, with the tokens that
/// ChatTemplate finds beside `tokenizer_path`. Nothing for an empty template and, with a warning, for one
/// that cannot be run.
TurnEnd turn_end_of_template(const std::string& chat_template, const std::filesystem::path& tokenizer_path,
                             const Tokenizer& tokenizer);

}  // namespace longlora::tokenizer
