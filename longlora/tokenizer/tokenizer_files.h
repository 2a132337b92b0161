// The files that make up a tokenizer and its chat templates.
#pragma once

#include <filesystem>
#include <string>

namespace longlora::tokenizer {

/// Whether transformers keeps a part of a tokenizer in a file (or folder) of this name: vocabulary, merges,
/// settings, chat templates (chat_template.jinja, additional_chat_templates), code.
bool is_tokenizer_file(const std::string& name);

/// Copies chat_template.jinja, chat_template.json and additional_chat_templates. A template that only the
/// tokenizer_config.json of `from` has is written as chat_template.jinja.
void copy_chat_templates(const std::filesystem::path& from, const std::filesystem::path& to);

/// Copies the tokenizer's files (tokenizer.json, tokenizer.model and their like, tokenizer_config.json,
/// special_tokens_map.json, added_tokens.json; those that exist) from one folder to another. `from` may also
/// be one tokenizer file, which is then written under a name by which load_tokenizer finds it, or a GGUF
/// file, of which tokenizer.json and tokenizer_config.json are made.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace longlora::tokenizer
