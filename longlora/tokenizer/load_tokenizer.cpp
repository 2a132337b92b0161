#include <fmt/core.h>

#include <array>
#include <filesystem>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/tokenizer/llama_settings.h"
#include "longlora/tokenizer/llama_tokenizer.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

constexpr const char* kModelFile = "tokenizer.model";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

fs::path find_model_file(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    if (is_there(path)) return path;
    throw InputError(
        fmt::format("[{}] expected a Hugging Face directory with {} or that file itself, got "
                    "nothing of that name; correct the path",
                    path.string(), kModelFile));
  }
  if (is_there(path / kModelFile)) return path / kModelFile;
  if (is_there(path / "tokenizer.json")) {
    throw InputError(
        fmt::format("[{}] expected {}, got only tokenizer.json; only tokenizer.model "
                    "(SentencePiece) is supported so far: copy it from the original model",
                    path.string(), kModelFile));
  }
  throw InputError(
      fmt::format("[{}] expected a tokenizer ({}), got a folder without one; name the folder of "
                  "the base model",
                  path.string(), kModelFile));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  const fs::path file = find_model_file(path);
  std::string model = read_file(file);
  if (model.empty()) {
    throw InputError(
        fmt::format("[{}] expected a SentencePiece model, got an empty file; fetch it again", file.string()));
  }
  if (model.starts_with("version https://git-lfs")) {
    throw InputError(fmt::format(
        "[{}] expected a SentencePiece model, got a Git LFS pointer; run git lfs pull", file.string()));
  }
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  return std::make_unique<LlamaTokenizer>(std::move(model), read_llama_settings(folder), file.string());
}

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
  constexpr std::array kNames = {kModelFile, "tokenizer.json", "tokenizer_config.json",
                                 "special_tokens_map.json", "added_tokens.json"};
  for (const char* name : kNames) {
    if (is_there(from / name)) write_file_atomic(to / name, read_file(from / name));
  }
}

}  // namespace longlora::tokenizer
