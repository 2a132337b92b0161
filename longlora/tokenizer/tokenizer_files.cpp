#include "longlora/tokenizer/tokenizer_files.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/tokenizer/chat_template.h"
#include "longlora/tokenizer/gguf_tokenizer.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

constexpr const char* kMoreTemplates = "additional_chat_templates";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

void copy_if_there(const fs::path& from, const fs::path& to, const fs::path& name) {
  if (is_there(from / name)) write_file_atomic(to / name, read_file(from / name));
}

// Copies a folder of templates, which has no subfolders.
void copy_templates_folder(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (!fs::is_directory(from / kMoreTemplates, ignored)) return;
  make_directories(to / kMoreTemplates);
  for (const fs::path& path : list_directory(from / kMoreTemplates))
    if (fs::is_regular_file(path, ignored))
      copy_if_there(from / kMoreTemplates, to / kMoreTemplates, path.filename());
}

void write_gguf_tokenizer(const fs::path& model, const fs::path& to) {
  const gguf::GgufModel opened = gguf::GgufModel::open(model);
  if (!has_gguf_tokenizer(opened.metadata())) return;
  GgufTokenizer tokenizer = read_gguf_tokenizer(opened.metadata());
  write_json(to / "tokenizer_config.json", tokenizer.settings);
  write_json(to / "tokenizer.json", gguf_tokenizer_json(std::move(tokenizer)));
}

}  // namespace

bool is_tokenizer_file(const std::string& name) {
  constexpr std::array<std::string_view, 9> kNames = {"tokenizer.json",
                                                      "tokenizer_config.json",
                                                      "special_tokens_map.json",
                                                      "added_tokens.json",
                                                      "vocab.json",
                                                      "vocab.txt",
                                                      "merges.txt",
                                                      "tekken.json",
                                                      "chat_template.json"};
  constexpr std::array<std::string_view, 4> kEnds = {".model", ".tiktoken", ".spm", ".jinja"};
  const std::string_view text = name;
  return std::find(kNames.begin(), kNames.end(), text) != kNames.end() || text == kMoreTemplates ||
         std::any_of(kEnds.begin(), kEnds.end(), [&](std::string_view end) { return text.ends_with(end); }) ||
         text.starts_with("tokenizer.model") || (text.starts_with("tokenization_") && text.ends_with(".py"));
}

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (const auto model = gguf::find_model(from)) write_gguf_tokenizer(*model, to);
  if (fs::is_directory(from, ignored)) {
    for (const fs::path& path : list_directory(from))
      if (is_tokenizer_file(path.filename().string()) && fs::is_regular_file(path, ignored))
        copy_if_there(from, to, path.filename());
    return copy_templates_folder(from, to);
  }
  if (!is_there(from) || gguf::find_model(from)) return;
  // The copy gets a name by which a folder is searched.
  fs::path name = from.filename();
  if (from.extension() == ".json") name = "tokenizer.json";
  if (name != "tokenizer.json" && name != "tiktoken.model" && name != "qwen.tiktoken")
    name = "tokenizer.model";
  write_file_atomic(to / name, read_file(from));
  const fs::path folder = from.has_parent_path() ? from.parent_path() : fs::path(".");
  for (const char* settings : {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                               "chat_template.jinja", "chat_template.json"})
    copy_if_there(folder, to, settings);
  copy_templates_folder(folder, to);
}

void copy_chat_templates(const fs::path& from, const fs::path& to) {
  copy_if_there(from, to, "chat_template.jinja");
  copy_if_there(from, to, "chat_template.json");
  copy_templates_folder(from, to);
  const std::string in_settings = is_there(from / "chat_template.jinja") ? "" : read_chat_template(from);
  if (!in_settings.empty()) write_file_atomic(to / "chat_template.jinja", in_settings);
}

}  // namespace longlora::tokenizer
