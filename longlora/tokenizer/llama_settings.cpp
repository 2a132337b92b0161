#include "longlora/tokenizer/llama_settings.h"

#include <fmt/core.h>

#include <set>

#include "longlora/core/log.h"
#include "longlora/tokenizer/settings_file.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

void read_named_tokens(const SettingsFile& file, LlamaSettings* settings) {
  file.read("bos_token", &settings->bos_token);
  file.read("eos_token", &settings->eos_token);
  file.read("unk_token", &settings->unk_token);
  std::optional<std::string> pad_token;
  file.read("pad_token", &pad_token);
  if (pad_token) settings->other_special_tokens.push_back(*pad_token);
  file.read("additional_special_tokens", &settings->other_special_tokens);
}

void warn_of_another_class(const SettingsFile& file, const fs::path& path) {
  static const std::set<std::string> kLlamaLike = {"LlamaTokenizer",          "LlamaTokenizerFast",
                                                   "CodeLlamaTokenizer",      "CodeLlamaTokenizerFast",
                                                   "PreTrainedTokenizerFast", "TokenizersBackend"};
  const Json* name = file.find("tokenizer_class");
  if (name == nullptr || !name->is_string() || kLlamaLike.contains(name->get<std::string>())) return;
  log_warning(
      fmt::format("{} names the tokenizer class {}; its tokenizer.model is read as LlamaTokenizer reads it",
                  path.string(), name->get<std::string>()));
}

}  // namespace

LlamaSettings read_llama_settings(const fs::path& folder) {
  LlamaSettings settings;
  const SettingsFile config(folder / "tokenizer_config.json");
  warn_of_another_class(config, folder / "tokenizer_config.json");
  config.read("add_bos_token", &settings.add_bos_token);
  config.read("add_eos_token", &settings.add_eos_token);
  config.read("legacy", &settings.legacy);
  config.read("add_prefix_space", &settings.add_prefix_space);
  read_named_tokens(config, &settings);
  if (const auto added = config.read_added_tokens()) {
    for (const AddedToken& token : *added) {
      settings.added_tokens.push_back({.content = token.content,
                                       .id = token.id,
                                       .special = token.special,
                                       .lstrip = token.lstrip,
                                       .rstrip = token.rstrip,
                                       .single_word = token.single_word});
    }
    return settings;
  }
  // These keys are those of folders that were written before added_tokens_decoder existed.
  read_named_tokens(SettingsFile(folder / "special_tokens_map.json"), &settings);
  const SettingsFile added(folder / "added_tokens.json");
  for (const auto& [content, id] : added.json().items()) {
    if (content.empty()) throw added.wrong_type("a token", "a text", Json(content));
    settings.added_tokens.push_back(
        {.content = content, .id = added.checked_id(content, id), .special = false});
  }
  return settings;
}

}  // namespace longlora::tokenizer
