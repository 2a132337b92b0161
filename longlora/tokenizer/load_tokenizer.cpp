#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/foreign_content.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/tokenizer/gguf_tokenizer.h"
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

bool has_tokenizer_file(const fs::path& folder) {
  return is_there(folder / kJsonFile) ||
         std::any_of(kModelFiles.begin(), kModelFiles.end(),
                     [&](const char* name) { return is_there(folder / name); });
}

std::string read_tokenizer_file(const fs::path& file) {
  std::string content = read_file(file);
  if (const std::string other = foreign_content(content); !other.empty())
    throw InputError(fmt::format("[{}] expected a tokenizer, got {}", file.string(), other));
  return content;
}

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

// Reads one file by itself; its content shows its kind.
TokenizerFiles read_one_file(const fs::path& file) {
  TokenizerFiles files = {.path = file};
  std::string content = read_tokenizer_file(file);
  if (file.extension() == ".json")
    files.pipeline = parse_tokenizer_json(content, file.string());
  else if (is_tiktoken_file(content))
    files.pipeline = parse_tiktoken_file(content, file.string(), folder_of(file));
  else
    files.sentencepiece = std::move(content);
  if (files.pipeline) read_named_ends(folder_of(file), &*files.pipeline);
  return files;
}

}  // namespace

TokenizerFiles read_tokenizer_files(const fs::path& path) {
  std::error_code ignored;
  if (!is_there(path)) {
    throw InputError(
        fmt::format("[{}] expected a Hugging Face directory with {} or {}, or such a file itself, got "
                    "nothing of that name; correct the path",
                    path.string(), kJsonFile, kModelFiles[0]));
  }
  if (!has_tokenizer_file(path))
    if (const auto model = gguf::find_model(path))
      return {.path = *model, .pipeline = gguf_pipeline(gguf::GgufModel::open(*model).metadata())};
  if (!fs::is_directory(path, ignored)) return read_one_file(path);
  const fs::path file = path / kJsonFile;
  if (!is_there(file)) return read_one_file(find_model_file(path));
  return {.path = file, .pipeline = read_tokenizer_folder(path, read_tokenizer_file(file))};
}

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  TokenizerFiles files = read_tokenizer_files(path);
  if (files.pipeline) return std::make_unique<PipelineTokenizer>(*files.pipeline);
  return std::make_unique<LlamaTokenizer>(std::move(files.sentencepiece),
                                          read_llama_settings(folder_of(files.path)), files.path.string());
}

bool has_tokenizer(const fs::path& path) {
  if (has_tokenizer_file(path)) return true;
  const auto model = gguf::find_model(path);
  return model && has_gguf_tokenizer(gguf::GgufModel::open(*model).metadata());
}

}  // namespace longlora::tokenizer
