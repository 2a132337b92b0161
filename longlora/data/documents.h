// Documents out of files: a text file is one, a .jsonl file has one in each line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace longlora::data {

enum class FileKind {
  kTokens,     // .bin
  kText,       // .txt and anything not named here
  kJsonLines,  // .jsonl, .ndjson
};

/// By the extension, whatever its case.
FileKind file_kind(const std::filesystem::path& path);

/// Which files of a folder are taken, by extension.
enum class FolderContents { kTextOnly, kTextAndTokens };

/// Replaces each folder by the data files in it (.txt, .jsonl, .ndjson and, where
/// asked for, .bin; hidden files and subfolders are passed over), sorted by name.
/// Throws InputError for a path that does not exist and a folder without such files.
std::vector<std::filesystem::path> expand_folders(const std::vector<std::filesystem::path>& paths,
                                                  FolderContents contents);

/// What was read from one file and what was assumed about it.
struct SourceReport {
  std::filesystem::path path;
  std::string encoding;              // see encoding_name()
  bool converted_line_ends = false;  // CRLF to LF
  int64_t num_bytes = 0;             // of the file
  int64_t num_documents = 0;         // without empty ones
  int64_t num_empty_documents = 0;
  int64_t num_tokens = 0;
};

/// Warns of a file whose encoding had to be guessed.
void log_assumptions(const SourceReport& report);

/// Calls `visit(document, bytes_read_so_far)` for every document that is not
/// empty, in order, as UTF-8 with LF line ends. Fills path, encoding, line ends,
/// bytes and document counts of `report`. Throws InputError naming file and line
/// for a malformed .jsonl line or one without the text field.
void for_each_document(const std::filesystem::path& path, const std::string& text_field, SourceReport* report,
                       const std::function<void(std::string document, int64_t num_bytes_read)>& visit);

}  // namespace longlora::data
