#include "longlora/data/data_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>

#include "longlora/core/error.h"
#include "longlora/core/folder_manifest.h"
#include "longlora/core/log.h"
#include "longlora/core/utf8.h"
#include "longlora/data/compressed.h"
#include "longlora/data/foreign_file.h"
#include "longlora/data/text_encoding.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

fs::path without_compression(const fs::path& path) {
  const std::string extension = lower_extension(path);
  return extension == ".gz" || extension == ".zst" ? fs::path(path).replace_extension() : path;
}

// Whether a file is the JSON that tokenize writes beside a .bin.
bool is_description(const fs::path& path) {
  return lower_extension(path) == ".json" && lower_extension(path.stem()) == ".bin";
}

bool is_taken(const fs::path& path, FolderContents contents) {
  switch (file_kind(path)) {
    case FileKind::kJson:
      return !is_description(path);
    case FileKind::kTokens:
      return contents == FolderContents::kTextAndTokens && lower_extension(path) == ".bin";
    case FileKind::kText:
      return contents != FolderContents::kSamples && lower_extension(without_compression(path)) == ".txt";
    case FileKind::kTable:
      break;
  }
  return false;
}

// Whether somebody may have meant a file to be read that is not.
bool looks_like_data(const fs::path& path) {
  static const std::vector<std::string> kExtensions = {
      ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx", ".pdf",  ".docx", ".epub", ".zip",
      ".tar", ".tgz", ".bz2",     ".xz",    ".lz4",     ".npy",  ".text", ".gz",   ".zst"};
  return std::find(kExtensions.begin(), kExtensions.end(), lower_extension(path)) != kExtensions.end();
}

const char* extensions_of(FolderContents contents) {
  switch (contents) {
    case FolderContents::kText:
      return ".txt, .json or .jsonl";
    case FolderContents::kTextAndTokens:
      return ".txt, .json, .bin or .jsonl";
    case FolderContents::kSamples:
      return ".json or .jsonl";
  }
  return "";
}

// The names of data in a folder, as they are without compression, to the file that was taken for each.
using TakenFiles = std::map<fs::path, fs::path>;

// `gzip -k` and others leave a file beside its compressed copy.
void take_once(const fs::path& file, TakenFiles* taken) {
  const auto [found, is_new] = taken->emplace(without_compression(file.filename()), file);
  if (!is_new)
    throw InputError(fmt::format("[{}] expected each file once, got {} and {}; move one of them away",
                                 file.parent_path().string(), found->second.filename().string(),
                                 file.filename().string()));
}

// Whether a folder holds files that would be taken if the folder itself were named.
bool holds_data(const fs::path& folder, FolderContents contents) {
  std::error_code error;
  return std::any_of(fs::directory_iterator(folder, error), fs::directory_iterator(),
                     [&](const fs::directory_entry& entry) {
                       return entry.is_regular_file(error) && is_taken(entry.path(), contents);
                     });
}

void warn_of_passed_over(const fs::path& folder, const std::vector<std::string>& names) {
  constexpr size_t kNamed = 5;
  if (names.empty()) return;
  const auto named = std::span(names).first(std::min(kNamed, names.size()));
  log_warning(fmt::format(
      "{}: not read, being of other kinds or in subfolders: {}{}; name them by themselves to have "
      "them read, or to learn how they can be",
      folder.string(), fmt::join(named, ", "),
      names.size() > kNamed ? fmt::format(" and {} more", names.size() - kNamed) : ""));
}

}  // namespace

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return extension;
}

FileKind file_kind(const fs::path& path) {
  const std::string extension = lower_extension(without_compression(path));
  if (extension == ".bin") return FileKind::kTokens;
  if (extension == ".json" || extension == ".jsonl" || extension == ".ndjson") return FileKind::kJson;
  if (extension == ".csv" || extension == ".tsv") return FileKind::kTable;
  return FileKind::kText;
}

std::vector<fs::path> expand_folders(const std::vector<fs::path>& paths, FolderContents contents) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
      throw InputError(
          fmt::format("[{}] expected a data file or a folder of them, got nothing of that name; "
                      "correct the path",
                      path.string()));
    }
    if (!fs::is_directory(path, ignored)) {
      files.push_back(path);
      continue;
    }
    const size_t num_before = files.size();
    std::vector<std::string> passed_over, lost;
    TakenFiles taken;
    for (const fs::path& file : list_directory(path)) {
      const std::string name = file.filename().string();
      if (name.starts_with('.')) continue;
      if (fs::is_symlink(file, ignored) && !fs::exists(file, ignored)) lost.push_back(name);
      if (fs::is_directory(file, ignored) && holds_data(file, contents)) passed_over.push_back(name + "/");
      if (!fs::is_regular_file(file, ignored)) continue;
      if (is_taken(file, contents)) {
        take_once(file, &taken);
        files.push_back(file);
      } else if (looks_like_data(file)) {
        passed_over.push_back(name);
      }
    }
    if (!lost.empty()) {
      throw InputError(
          fmt::format("[{}] expected a folder whose links lead to files, got links that lead nowhere: {}; "
                      "mend or remove them",
                      path.string(), list_names(lost)));
    }
    warn_of_passed_over(path, passed_over);
    if (files.size() == num_before) {
      throw InputError(fmt::format(
          "[{}] expected a folder with {} files, got none (subfolders are not searched); name the "
          "folder that holds them",
          path.string(), extensions_of(contents)));
    }
  }
  return files;
}

DataFile::DataFile(const fs::path& path) : file_(path) {
  const Compression compression = detect_compression(file_.text());
  if (compression != Compression::kNone)
    unpacked_ = std::make_unique<const std::string>(decompress(file_.text(), compression, path.string()));
  refuse_foreign_file(compression == Compression::kNone ? path : without_compression(path), text());
}

std::string read_text(const fs::path& path) {
  const DataFile file(path);
  refuse_wide_text(file.text(), path.string());
  if (const size_t at = find_invalid_utf8(file.text()); at != std::string_view::npos)
    throw InputError(fmt::format(
        "[{}] expected UTF-8, got another byte at offset {}; convert the file to UTF-8", path.string(), at));
  std::string text(without_mark(file.text(), detect_encoding(file.text(), path)));
  convert_line_ends(&text);
  return text;
}

}  // namespace longlora::data
