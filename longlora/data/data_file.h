// The files that data comes in: they are found in folders, opened and unpacked.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/file.h"

namespace longlora::data {

/// The kind that the name of a file tells. Whether a text holds JSON is told by its content, too
/// (documents.h).
enum class FileKind {
  kTokens,  // .bin
  kJson,    // .json, .jsonl, .ndjson: a list, lines, or objects one after the other
  kTable,   // .csv, .tsv
  kText,    // anything else
};

/// The kind that the extension tells, whatever its case, and without a .gz or .zst behind it.
FileKind file_kind(const std::filesystem::path& path);

/// The extension in lower-case letters.
std::string lower_extension(const std::filesystem::path& path);

/// The files of a folder that are taken, by extension: .json, .jsonl and .ndjson always, .txt and .bin where
/// the value names them. All but .bin may be compressed (.gz, .zst).
enum class FolderContents { kText, kTextAndTokens, kSamples };

/// Replaces each folder by the data files in it, sorted by name. Hidden files, subfolders and the JSON beside
/// a .bin are passed over; a warning tells of other files that look like data and of subfolders with data.
/// Throws InputError for a path that does not exist, for a folder without such files, for one that holds a
/// file and its compressed copy, and for one with links that lead nowhere.
std::vector<std::filesystem::path> expand_folders(const std::vector<std::filesystem::path>& paths,
                                                  FolderContents contents);

/// A file of text or JSON. It is mapped, and unpacked into memory where its first bytes say that it is
/// compressed with gzip or Zstandard. Immutable and thread-safe.
class DataFile {
 public:
  /// Throws InputError for a file that is missing, unreadable or damaged, or of a kind that is not read (see
  /// refuse_foreign_file).
  explicit DataFile(const std::filesystem::path& path);

  /// The bytes of the file, unpacked.
  std::string_view text() const { return unpacked_ ? std::string_view(*unpacked_) : file_.text(); }
  size_t num_bytes_on_disk() const { return file_.bytes().size(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  std::unique_ptr<const std::string> unpacked_;
};

/// A whole text file as UTF-8 with LF line ends and without a byte order mark. Throws InputError as DataFile
/// does, and for bytes that are no UTF-8, whose place it names.
std::string read_text(const std::filesystem::path& path);

}  // namespace longlora::data
