#include "longlora/data/documents.h"

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/data/text_encoding.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return extension;
}

bool is_data_file(const fs::path& path, FolderContents contents) {
  if (path.filename().string().starts_with('.')) return false;
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  const std::string extension = lower_extension(path);
  return extension == ".txt" || extension == ".jsonl" || extension == ".ndjson" ||
         (extension == ".bin" && contents == FolderContents::kTextAndTokens);
}

std::string field_names(const Json& object) {
  std::string names;
  for (const auto& [name, value] : object.items()) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "no fields" : names;
}

std::string text_of_line(const std::string& line, const std::string& text_field, const std::string& source) {
  const Json json = parse_json(line, source);
  if (!json.is_object()) {
    throw InputError(fmt::format("[{}] expected an object with the field \"{}\", got {}", source, text_field,
                                 json.type_name()));
  }
  const auto found = json.find(text_field);
  if (found == json.end()) {
    throw InputError(fmt::format("[{}] expected the field \"{}\", got {}; name the field that holds the text",
                                 source, text_field, field_names(json)));
  }
  if (!found->is_string()) {
    throw InputError(fmt::format("[{}] expected the field \"{}\" to be a text, got {}", source, text_field,
                                 found->type_name()));
  }
  return found->get<std::string>();
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
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

void visit_lines(std::string_view bytes, TextEncoding encoding, const std::string& text_field,
                 SourceReport* report, const Visitor& visit) {
  int64_t line_number = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    const std::string_view line = bytes.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (is_blank(line)) continue;
    const std::string source = fmt::format("{}:{}", report->path.string(), line_number);
    deliver(text_of_line(to_utf8(line, encoding), text_field, source), static_cast<int64_t>(at), report,
            visit);
  }
}

}  // namespace

FileKind file_kind(const fs::path& path) {
  const std::string extension = lower_extension(path);
  if (extension == ".bin") return FileKind::kTokens;
  if (extension == ".jsonl" || extension == ".ndjson") return FileKind::kJsonLines;
  return FileKind::kText;
}

std::vector<fs::path> expand_folders(const std::vector<fs::path>& paths, FolderContents contents) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) {
      if (!fs::exists(path, ignored)) {
        throw InputError(
            fmt::format("[{}] expected a data file or a folder of them, got nothing of that name; "
                        "correct the path",
                        path.string()));
      }
      files.push_back(path);
      continue;
    }
    const size_t num_before = files.size();
    for (const fs::path& file : list_directory(path)) {
      if (is_data_file(file, contents)) files.push_back(file);
    }
    if (files.size() == num_before) {
      throw InputError(
          fmt::format("[{}] expected a folder with .txt{} or .jsonl files, got none (subfolders are "
                      "not searched); name the folder that holds them",
                      path.string(), contents == FolderContents::kTextAndTokens ? ", .bin" : ""));
    }
  }
  return files;
}

void log_assumptions(const SourceReport& report) {
  if (report.encoding.ends_with("(assumed)")) {
    log_warning(fmt::format("{} is not UTF-8; read as {}", report.path.string(),
                            report.encoding.substr(0, report.encoding.find(' '))));
  }
}

void for_each_document(const fs::path& path, const std::string& text_field, SourceReport* report,
                       const Visitor& visit) {
  const MappedFile file(path);
  const TextEncoding encoding = detect_encoding(file.text(), path);
  report->path = path;
  report->encoding = encoding_name(encoding);
  report->num_bytes = static_cast<int64_t>(file.text().size());
  const std::string_view bytes = without_mark(file.text(), encoding);
  if (file_kind(path) == FileKind::kJsonLines) {
    visit_lines(bytes, encoding, text_field, report, visit);
  } else {
    deliver(to_utf8(bytes, encoding), report->num_bytes, report, visit);
  }
}

}  // namespace longlora::data
