// The files that data comes in: found in folders, opened, unpacked.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/file.h"

namespace longlora::data {

/// What the name of a file says of it; whether a text holds JSON its content says too (see documents.h).
enum class FileKind {
  kTokens,  // .bin
  kJson,    // .json, .jsonl, .ndjson: a list, lines, or objects one after the other
  kTable,   // .csv, .tsv
  kText,    // anything else
};

/// By the extension, whatever its case, and without the .gz or .zst behind it.
FileKind file_kind(const std::filesystem::path& path);

/// The extension in lower-case letters.
std::string lower_extension(const std::filesystem::path& path);

/// Which files of a folder are taken, by extension: .json, .jsonl, .ndjson always; .txt and .bin where named.
/// Each of them but .bin may be compressed (.gz, .zst).
enum class FolderContents { kText, kTextAndTokens, kSamples };

/// Replaces each folder by the data files in it, sorted by name. Hidden files, subfolders and the JSON beside
/// a .bin are passed over; of other files that look like data a warning tells. Throws InputError for a path
/// that does not exist and for a folder without such files.
std::vector<std::filesystem::path> expand_folders(const std::vector<std::filesystem::path>& paths,
                                                  FolderContents contents);

/// A file of text or JSON: mapped, and unpacked into memory where it is compressed with gzip or Zstandard,
/// which its first bytes say. Immutable and thread-safe.
class DataFile {
 public:
  /// Throws InputError: missing or unreadable, damaged, or of a kind that is not read (see
  /// refuse_foreign_file).
  explicit DataFile(const std::filesystem::path& path);

  /// The bytes, unpacked.
  std::string_view text() const { return unpacked_ ? std::string_view(*unpacked_) : file_.text(); }
  size_t num_bytes_on_disk() const { return file_.bytes().size(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  std::unique_ptr<const std::string> unpacked_;
};

/// A whole text file as UTF-8 with LF line ends and without a byte order mark. Throws InputError as DataFile
/// does, and for bytes that are no UTF-8, which it places.
std::string read_text(const std::filesystem::path& path);

}  // namespace longlora::data
