// Documents out of files: a text file is one, a file of JSON has one in each object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "longlora/data/data_file.h"
#include "longlora/data/unread_fields.h"

namespace longlora::data {

/// What was read from one file and what was assumed about it.
struct SourceReport {
  std::filesystem::path path;
  std::string encoding;              // see encoding_name()
  bool converted_line_ends = false;  // CRLF to LF
  bool is_json_by_content = false;   // a file of JSON under another name
  int64_t num_bytes = 0;             // of the file
  int64_t num_documents = 0;         // without empty ones
  int64_t num_empty_documents = 0;
  int64_t num_tokens = 0;
  UnreadFields unread;
};

/// Warns of a file whose encoding had to be guessed, and says what its name does not tell: that it holds
/// JSON, and which fields were not read.
void log_assumptions(const SourceReport& report);

/// Calls `visit(document, bytes_read_so_far)` for every document that is not
/// empty, in order, as UTF-8 with LF line ends. A file is JSON where its name says so, and where it holds
/// objects with the text field, samples of questions and answers, or several objects whatever their fields.
/// Fills all of `report` but the number of tokens. Throws InputError naming file and place for a table, a
/// malformed object, one without the text field, and questions and answers, which are no documents.
void for_each_document(const std::filesystem::path& path, const std::string& text_field, SourceReport* report,
                       const std::function<void(std::string document, int64_t num_bytes_read)>& visit);

}  // namespace longlora::data
