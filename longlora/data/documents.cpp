#include "longlora/data/documents.h"

#include <fmt/core.h>

#include <optional>
#include <string_view>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/data/conversation.h"
#include "longlora/data/document_file.h"
#include "longlora/data/foreign_file.h"
#include "longlora/data/json_samples.h"
#include "longlora/data/text_encoding.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

constexpr const char* kUsualField = "text";

[[noreturn]] void refuse_questions(const std::string& place, const Json& sample) {
  throw InputError(
      fmt::format("[{}] expected a whole text to learn, got a question and its answer ({}); `longlora sft` "
                  "learns those. To "
                  "learn one field as plain text name it with --text_field, or take the others out",
                  place, field_names(sample)));
}

std::string text_of(const Json& sample, const std::string& text_field, const std::string& place) {
  const auto found = sample.find(text_field);
  // A field that the user has named is meant, whatever stands beside it.
  if ((found == sample.end() || text_field == kUsualField) && is_question_and_answer(sample))
    refuse_questions(place, sample);
  if (found == sample.end()) {
    throw InputError(fmt::format(
        "[{}] expected the field \"{}\", got {}; name the field that holds the text (--text_field)", place,
        text_field, field_names(sample)));
  }
  if (!found->is_string()) {
    throw InputError(fmt::format("[{}] expected the field \"{}\" to be a text, got {}", place, text_field,
                                 kind_of(*found)));
  }
  return found->get<std::string>();
}

bool is_json(const fs::path& path, std::string_view text, const std::string& text_field) {
  if (file_kind(path) == FileKind::kJson) return true;
  return holds_json(text, [&](const Json& object) {
    return object.contains(text_field) || is_question_and_answer(object);
  });
}

bool is_utf8(TextEncoding encoding) {
  return encoding == TextEncoding::kUtf8 || encoding == TextEncoding::kUtf8WithMark;
}

}  // namespace

void log_assumptions(const SourceReport& report) {
  if (report.encoding.ends_with("(assumed)")) {
    log_warning(fmt::format("{} is not UTF-8; read as {}", report.path.string(),
                            report.encoding.substr(0, report.encoding.find(' '))));
  }
  if (report.is_json_by_content)
    log_info(fmt::format("{} holds JSON: its fields are read, not its letters", report.path.string()));
  report.unread.log(report.path.string());
}

Content content_of(const DataFile& file, const std::string& text_field) {
  if (!is_json(file.path(), file.text(), text_field)) return Content::kDocument;
  std::optional<Json> first = first_object(file.text());
  if (!first) {
    const TextEncoding encoding = detect_encoding(file.text(), file.path());
    if (!is_utf8(encoding)) first = first_object(to_utf8(file.text(), encoding));
  }
  // A file of JSON whose first object cannot be read has broken samples, of which kind is not known.
  const bool is_document =
      first && first->contains(text_field) && (text_field != kUsualField || !is_question_and_answer(*first));
  return is_document ? Content::kDocuments : Content::kQuestions;
}

DocumentFile::DocumentFile(DataFile file, std::string text_field)
    : file_(std::move(file)),
      text_field_(std::move(text_field)),
      encoding_(detect_encoding(file_.text(), file_.path())),
      converted_(is_utf8(encoding_) ? "" : to_utf8(file_.text(), encoding_)),
      is_json_(is_json(file_.path(), text(), text_field_)) {
  if (is_json_ && text().find_first_not_of(" \t\r\n") != std::string_view::npos)
    cut_ = cut_samples(text(), file_.path().string());
}

std::string_view DocumentFile::text() const {
  return is_utf8(encoding_) ? without_mark(file_.text(), encoding_) : converted_;
}

std::string DocumentFile::place(size_t index) const {
  const std::string source = file_.path().string();
  return is_json_ ? cut_.place(source, index) : source;
}

std::string DocumentFile::read(size_t index, SourceReport* report) const {
  std::string document;
  if (is_json_) {
    const Json object = parse_sample(cut_.samples[index], place(index));
    document = text_of(object, text_field_, place(index));
    for (const auto& [name, value] : object.items())
      if (name != text_field_) report->unread.add(name, 1);
  } else {
    document = text();
  }
  report->converted_line_ends |= convert_line_ends(&document);
  ++(document.empty() ? report->num_empty_documents : report->num_documents);
  return document;
}

int64_t DocumentFile::bytes_until_end_of(size_t index) const {
  const auto num_bytes = static_cast<int64_t>(file_.num_bytes_on_disk());
  if (!is_json_) return num_bytes;
  const std::string_view sample = cut_.samples[index];
  const auto end = static_cast<double>(sample.data() + sample.size() - text().data());
  // The file may be compressed.
  return static_cast<int64_t>(end * static_cast<double>(num_bytes) / static_cast<double>(text().size()));
}

SourceReport DocumentFile::report() const {
  SourceReport report;
  report.path = file_.path();
  report.encoding = encoding_name(encoding_);
  report.num_bytes = static_cast<int64_t>(file_.num_bytes_on_disk());
  report.is_json_by_content = is_json_ && file_kind(file_.path()) != FileKind::kJson;
  return report;
}

void for_each_document(const fs::path& path, const std::string& text_field, SourceReport* report,
                       const std::function<void(std::string, int64_t)>& visit) {
  if (file_kind(path) == FileKind::kTable) refuse_table(path);
  const DocumentFile file(DataFile{path}, text_field);
  *report = file.report();
  for (size_t i = 0; i < file.size(); ++i) {
    std::string document = file.read(i, report);
    if (!document.empty()) visit(std::move(document), file.bytes_until_end_of(i));
  }
}

}  // namespace longlora::data
