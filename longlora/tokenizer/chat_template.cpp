#include "longlora/tokenizer/chat_template.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/tokenizer/gguf_tokenizer.h"
#include "longlora/tokenizer/run_template.h"
#include "longlora/tokenizer/settings_file.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

// The template of a file. Files have one template, or several in a list of {"name", "template"} or in an
// object by name.
std::string template_in(const fs::path& path) {
  const SettingsFile file(path);
  const Json* entry = file.find("chat_template");
  if (entry == nullptr || entry->is_null()) return "";
  if (entry->is_string()) return entry->get<std::string>();
  std::vector<std::string> names;
  for (const auto& [key, value] : entry->items()) {
    const bool is_list = value.is_object();
    const Json name = is_list ? value.value("name", Json()) : Json(key);
    const Json text = is_list ? value.value("template", Json()) : value;
    if (!text.is_string()) throw file.wrong_type("chat_template", "a text or texts by name", *entry);
    if (name == "default") return text.get<std::string>();
    names.push_back(name.dump());
  }
  if (!names.empty())
    log_warning_once(
        fmt::format("[{}] expected a chat template named \"default\" among several, got {}; none of "
                    "them is used",
                    path.string(), fmt::join(names, ", ")));
  return "";
}

}  // namespace

std::string read_chat_template(const fs::path& path) {
  std::error_code ignored;
  if (const auto model = gguf::find_model(path))
    return gguf_chat_template(gguf::GgufModel::open(*model).metadata());
  const fs::path folder = fs::is_directory(path, ignored) ? path : path.parent_path();
  if (fs::exists(folder / "chat_template.jinja", ignored)) return read_file(folder / "chat_template.jinja");
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const std::string found = template_in(folder / name);
    if (!found.empty()) return found;
  }
  return "";
}

std::string find_chat_template(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) {
    std::string found = path.empty() ? "" : read_chat_template(path);
    if (!found.empty()) return found;
  }
  return "";
}

std::optional<PromptForm> form_of_template(const std::string& chat_template) {
  const auto has = [&](const char* text) { return chat_template.find(text) != std::string::npos; };
  if (has("<|im_start|>")) return PromptForm::kChatml;
  if (has("[INST]")) return PromptForm::kLlama2;
  if (has("### Instruction:")) return PromptForm::kAlpaca;
  return std::nullopt;
}

TurnEnd turn_end_of_template(const std::string& chat_template, const fs::path& tokenizer_path,
                             const Tokenizer& tokenizer) {
  if (chat_template.empty()) return {};
  try {
    return ChatTemplate(chat_template, tokenizer_path, tokenizer, jinja::local_time_now())
        .turn_end(tokenizer);
  } catch (const InputError& error) {
    log_warning(fmt::format("what the chat template ends a turn with is not known: {}", error.what()));
    return {};
  }
}

}  // namespace longlora::tokenizer
