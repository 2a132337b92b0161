#include "longlora/tokenizer/chat_template.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "longlora/core/file.h"
#include "longlora/tokenizer/settings_file.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

// The template of a file. Files have one template, or several in a list of {"name", "template"} or in an
// object by name.
std::string template_in(const SettingsFile& file) {
  const Json* entry = file.find("chat_template");
  if (entry == nullptr || entry->is_null()) return "";
  if (entry->is_string()) return entry->get<std::string>();
  std::string first;
  for (const auto& [key, value] : entry->items()) {
    const bool is_list = value.is_object();
    const Json name = is_list ? value.value("name", Json()) : Json(key);
    const Json text = is_list ? value.value("template", Json()) : value;
    if (!text.is_string()) throw file.wrong_type("chat_template", "a text or texts by name", *entry);
    if (name == "default") return text.get<std::string>();
    if (first.empty()) first = text.get<std::string>();
  }
  return first;
}

bool is_word(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// The next place at or after `from` where `word` stands by itself.
size_t find_word(std::string_view text, std::string_view word, size_t from) {
  for (size_t at = text.find(word, from); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return at;
  }
  return std::string_view::npos;
}

// The last place before `end` where one of the words stands in quotes: 'assistant', "user".
size_t last_quoted(std::string_view text, std::string_view word) {
  for (const char quote : {'\'', '"'}) {
    const size_t at = text.rfind(quote + std::string(word) + quote);
    if (at != std::string_view::npos) return at;
  }
  return std::string_view::npos;
}

// Whether what a template writes after `before` is (also) what the assistant said: the last role that it asks
// for by name is the assistant's, or it has used the message's own role after that.
bool is_assistants(std::string_view before) {
  constexpr std::array kOthers = {"system", "user", "human", "tool", "developer", "ipython", "function"};
  constexpr std::array kAssistants = {"assistant", "model", "gpt", "bot"};
  size_t other = 0, assistant = 0, own = 0;
  const auto later = [](size_t found, size_t known) {
    return found == std::string_view::npos ? known : std::max(found + 1, known);
  };
  for (const char* role : kOthers) other = later(last_quoted(before, role), other);
  for (const char* role : kAssistants) assistant = later(last_quoted(before, role), assistant);
  for (size_t at = find_word(before, "role", 0); at != std::string_view::npos;
       at = find_word(before, "role", at + 1))
    own = at + 1;
  return other <= std::max(assistant, own);
}

// Whether a token is a control token, or spelled like a marker. Tags of thoughts and tool calls end no turn.
bool is_marker(const Tokenizer& tokenizer, int32_t id) {
  const std::string text = tokenizer.token_bytes(id);
  if (text.size() < 3 || text.find("think") != std::string::npos || text.find("tool") != std::string::npos)
    return false;
  return tokenizer.decode({id}).empty() || (text.front() == '<' && text.back() == '>');
}

// `text`, which begins inside a branch of a condition, without the other branches of that condition.
std::string without_other_branches(std::string_view text) {
  std::string kept;
  int depth = 0;  // how many conditions are open that began behind the start
  bool skips = false;
  while (!text.empty()) {
    const size_t tag = std::min(text.find("{%"), text.size());
    if (!skips) kept += text.substr(0, tag);
    text.remove_prefix(std::min(tag + 2, text.size()));
    const size_t begin = std::min(text.find_first_not_of("-+ \n\t"), text.size());
    const auto end = std::find_if_not(text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(), is_word);
    const std::string_view word(text.begin() + static_cast<std::ptrdiff_t>(begin), end);
    if (word == "if")
      ++depth;
    else if (word == "endif" && depth > 0)
      --depth;
    else if (word == "endif")
      skips = false;
    else if ((word == "elif" || word == "else") && depth == 0)
      skips = true;
  }
  return kept;
}

// The first marker in what follows an output of content; EOS counts as one.
std::optional<int32_t> marker_behind(std::string_view text, const Tokenizer& tokenizer) {
  constexpr size_t kFarthest = 4000;
  const std::string reached = without_other_branches(text.substr(0, kFarthest));
  const size_t eos = find_word(reached, "eos_token", 0);
  for (const int32_t id : tokenizer.encode(std::string_view(reached).substr(0, eos), false))
    if (is_marker(tokenizer, id)) return id;
  return eos == std::string::npos ? std::nullopt : tokenizer.eos_id();
}

// Whether `at` lies inside {{ … }}.
bool is_in_output(std::string_view text, size_t at) {
  const size_t open = text.rfind("{{", at), close = text.rfind("}}", at);
  return open != std::string_view::npos && (close == std::string_view::npos || close < open);
}

}  // namespace

std::string read_chat_template(const fs::path& path) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(path, ignored) ? path : path.parent_path();
  if (fs::exists(folder / "chat_template.jinja", ignored)) return read_file(folder / "chat_template.jinja");
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const std::string found = template_in(SettingsFile(folder / name));
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

std::optional<int32_t> turn_end_of_template(const std::string& chat_template, const Tokenizer& tokenizer) {
  const std::string_view text = chat_template;
  for (size_t at = find_word(text, "content", 0); at != std::string_view::npos;
       at = find_word(text, "content", at + 1)) {
    if (!is_in_output(text, at) || !is_assistants(text.substr(0, at))) continue;
    const auto end = marker_behind(text.substr(at), tokenizer);
    if (end) return end == tokenizer.eos_id() ? std::nullopt : end;
  }
  return std::nullopt;
}

}  // namespace longlora::tokenizer
