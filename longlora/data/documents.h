// Reads documents from files: a text file is one document, and a file of JSON has one in each object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "longlora/data/data_file.h"
#include "longlora/data/unread_fields.h"

namespace longlora::data {

/// What was read from one file, and what was assumed about it.
struct SourceReport {
  std::filesystem::path path;
  std::string encoding;              // see encoding_name()
  bool converted_line_ends = false;  // whether CRLF became LF
  bool is_json_by_content = false;   // whether it holds JSON and its name does not say so
  int64_t num_bytes = 0;             // of the file
  int64_t num_documents = 0;         // without empty ones
  int64_t num_empty_documents = 0;
  int64_t num_tokens = 0;
  UnreadFields unread;
};

/// Warns of a file whose encoding had to be guessed. Says what the name does not tell: that the file holds
/// JSON, and which fields were not read.
void log_assumptions(const SourceReport& report);

/// Calls `visit(document, bytes_read_so_far)` for every document that is not empty, in order, as UTF-8 with
/// LF line ends. A file is JSON where its name says so, and where it holds objects with the text field,
/// samples of questions and answers, or several objects whatever their fields. Fills `report`, except its
/// number of tokens. Throws InputError naming file and place for a table, for an object that is malformed or
/// lacks the text field, and for questions and answers, which are no documents.
void for_each_document(const std::filesystem::path& path, const std::string& text_field, SourceReport* report,
                       const std::function<void(std::string document, int64_t num_bytes_read)>& visit);

}  // namespace longlora::data
