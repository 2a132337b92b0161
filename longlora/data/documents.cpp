#include "longlora/data/documents.h"

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/data/conversation.h"
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

using Visitor = std::function<void(std::string, int64_t)>;

// Counts a document and hands it on unless it is empty.
void deliver(std::string document, int64_t num_bytes_read, SourceReport* report, const Visitor& visit) {
  report->converted_line_ends |= convert_line_ends(&document);
  if (document.empty()) {
    ++report->num_empty_documents;
    return;
  }
  ++report->num_documents;
  visit(std::move(document), num_bytes_read);
}

void visit_samples(std::string_view text, const std::string& text_field, SourceReport* report,
                   const Visitor& visit) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return;
  const std::string source = report->path.string();
  const CutSamples cut = cut_samples(text, source);
  // Progress counts bytes of the file, which may be compressed.
  const double scale = static_cast<double>(report->num_bytes) / static_cast<double>(text.size());
  for (size_t i = 0; i < cut.samples.size(); ++i) {
    const std::string_view sample = cut.samples[i];
    const std::string place = cut.place(source, i);
    const Json object = parse_sample(sample, place);
    std::string document = text_of(object, text_field, place);
    for (const auto& [name, value] : object.items())
      if (name != text_field) report->unread.add(name, 1);
    const auto end = static_cast<double>(sample.data() + sample.size() - text.data());
    deliver(std::move(document), static_cast<int64_t>(end * scale), report, visit);
  }
}

bool is_json(const fs::path& path, std::string_view text, const std::string& text_field) {
  if (file_kind(path) == FileKind::kJson) return true;
  return holds_json(text, [&](const Json& object) {
    return object.contains(text_field) || is_question_and_answer(object);
  });
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

void for_each_document(const fs::path& path, const std::string& text_field, SourceReport* report,
                       const Visitor& visit) {
  if (file_kind(path) == FileKind::kTable) refuse_table(path);
  const DataFile file(path);
  const TextEncoding encoding = detect_encoding(file.text(), path);
  report->path = path;
  report->encoding = encoding_name(encoding);
  report->num_bytes = static_cast<int64_t>(file.num_bytes_on_disk());
  std::string_view text = without_mark(file.text(), encoding);
  std::string converted;
  if (encoding != TextEncoding::kUtf8 && encoding != TextEncoding::kUtf8WithMark)
    text = converted = to_utf8(text, encoding);
  if (is_json(path, text, text_field)) {
    report->is_json_by_content = file_kind(path) != FileKind::kJson;
    visit_samples(text, text_field, report, visit);
  } else {
    deliver(std::string(text), report->num_bytes, report, visit);
  }
}

}  // namespace longlora::data
