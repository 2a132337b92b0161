#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/foreign_content.h"
#include "longlora/tokenizer/llama_settings.h"
#include "longlora/tokenizer/llama_tokenizer.h"
#include "longlora/tokenizer/pipeline_tokenizer.h"
#include "longlora/tokenizer/tiktoken.h"
#include "longlora/tokenizer/tokenizer.h"
#include "longlora/tokenizer/tokenizer_folder.h"
#include "longlora/tokenizer/tokenizer_json.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

constexpr const char* kJsonFile = "tokenizer.json";
// The files of a folder in the order in which they are looked for; tokenizer.json goes before them.
constexpr std::array kModelFiles = {"tokenizer.model", "tiktoken.model", "qwen.tiktoken"};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

fs::path find_model_file(const fs::path& folder) {
  for (const char* name : kModelFiles)
    if (is_there(folder / name)) return folder / name;
  throw InputError(
      fmt::format("[{}] expected a tokenizer ({} or {}), got a folder without one; name the folder of "
                  "the base model",
                  folder.string(), kJsonFile, kModelFiles[0]));
}

std::string read_tokenizer_file(const fs::path& file) {
  std::string content = read_file(file);
  if (const std::string other = foreign_content(content); !other.empty())
    throw InputError(fmt::format("[{}] expected a tokenizer, got {}", file.string(), other));
  return content;
}

// Loads one file by itself; its content shows its kind.
std::unique_ptr<Tokenizer> load_file(const fs::path& file) {
  std::string content = read_tokenizer_file(file);
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (file.extension() == ".json") {
    PipelineSpec spec = parse_tokenizer_json(content, file.string());
    read_named_ends(folder, &spec);
    return std::make_unique<PipelineTokenizer>(spec);
  }
  if (is_tiktoken_file(content)) {
    PipelineSpec spec = parse_tiktoken_file(content, file.string(), folder);
    read_named_ends(folder, &spec);
    return std::make_unique<PipelineTokenizer>(spec);
  }
  return std::make_unique<LlamaTokenizer>(std::move(content), read_llama_settings(folder), file.string());
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  std::error_code ignored;
  if (!is_there(path)) {
    throw InputError(
        fmt::format("[{}] expected a Hugging Face directory with {} or {}, or such a file itself, got "
                    "nothing of that name; correct the path",
                    path.string(), kJsonFile, kModelFiles[0]));
  }
  if (!fs::is_directory(path, ignored)) return load_file(path);
  if (!is_there(path / kJsonFile)) return load_file(find_model_file(path));
  const std::string content = read_tokenizer_file(path / kJsonFile);
  return std::make_unique<PipelineTokenizer>(read_tokenizer_folder(path, content));
}

bool has_tokenizer(const fs::path& folder) {
  return is_there(folder / kJsonFile) ||
         std::any_of(kModelFiles.begin(), kModelFiles.end(),
                     [&](const char* name) { return is_there(folder / name); });
}

}  // namespace longlora::tokenizer
