// A file of documents that are read one at a time, in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "longlora/data/data_file.h"
#include "longlora/data/documents.h"
#include "longlora/data/json_samples.h"
#include "longlora/data/text_encoding.h"

namespace longlora::data {

/// What is read from a file of text or JSON: one document; the text field of each object; or a question with
/// its answer from each object.
enum class Content { kDocument, kDocuments, kQuestions };

/// Decides as fine-tune does: a file is JSON where its name says so, and where it holds objects with the text
/// field, samples of questions and answers, or several objects whatever their fields. Its first object says
/// what they are: those without the text field are questions, even where something is wrong with them.
Content content_of(const DataFile& file, const std::string& text_field);

/// A file of documents. JSON is cut when the file is opened, and a document is parsed when it is asked for.
/// Immutable and thread-safe.
class DocumentFile {
 public:
  /// Throws InputError for what is no text (see detect_encoding), and as cut_samples does; a file of JSON
  /// without anything in it has no documents.
  DocumentFile(DataFile file, std::string text_field);
  DocumentFile(const DocumentFile&) = delete;
  DocumentFile& operator=(const DocumentFile&) = delete;

  /// The number of documents, empty ones included.
  size_t size() const { return is_json_ ? cut_.samples.size() : 1; }
  std::string place(size_t index) const;
  /// A document as UTF-8 with LF line ends; it may be empty. Adds to `report` what was met in it. Throws
  /// InputError naming file and place for an object that is malformed or lacks the text field, and for a
  /// question with its answer, which is no document.
  std::string read(size_t index, SourceReport* report) const;
  /// How much of the file had been read at the end of a document, in bytes on the disk.
  int64_t bytes_until_end_of(size_t index) const;
  /// What is known of the file itself: no document is counted in it.
  SourceReport report() const;

 private:
  DataFile file_;
  std::string text_field_;
  TextEncoding encoding_;
  std::string converted_;  // the whole text, where it was not UTF-8
  bool is_json_;
  CutSamples cut_;

  std::string_view text() const;
};

}  // namespace longlora::data
