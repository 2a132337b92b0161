#include "longlora/data/instruction_file.h"

#include <fmt/core.h>

#include <algorithm>

#include "longlora/core/error.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kSpaces = " \t\r\n";

size_t skip_spaces(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(kSpaces, at), text.size());
}

// The end of the JSON value that starts at `at`: a bracketed one ends with its last bracket, others before
// the next comma or bracket. npos when the text ends first.
size_t find_value_end(std::string_view text, size_t at) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = at; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (depth == 0 && (c == ',' || c == ']' || c == '}')) return i;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) return i + 1;
  }
  return std::string_view::npos;
}

void check_encoding(std::string_view text, const std::string& source) {
  for (const std::string_view mark : {"\xFF\xFE", "\xFE\xFF"}) {
    if (text.starts_with(mark))
      throw InputError(fmt::format(
          "[{}] expected JSON in UTF-8, got UTF-16; convert it (iconv -f UTF-16 -t UTF-8)", source));
  }
}

void cut_list(std::string_view text, const std::string& source, CutSamples* cut) {
  const auto refuse = [&](size_t at, const char* got) {
    throw InputError(
        fmt::format("[{}] expected a JSON list, got {} at byte {}, behind {} samples; is the file whole?",
                    source, got, at, cut->samples.size()));
  };
  size_t at = skip_spaces(text, text.find('[') + 1);
  bool is_done = at < text.size() && text[at] == ']';
  while (!is_done) {
    const size_t end = find_value_end(text, at);
    if (end == std::string_view::npos) refuse(text.size(), "the end of the file");
    if (end == at) refuse(at, "no element");
    cut->samples.push_back(text.substr(at, end - at));
    at = skip_spaces(text, end);
    if (at == text.size()) refuse(at, "the end of the file");
    if (text[at] != ',' && text[at] != ']') refuse(at, "neither a comma nor the closing bracket");
    is_done = text[at] == ']';
    if (!is_done) at = skip_spaces(text, at + 1);
  }
  at = skip_spaces(text, at + 1);
  if (at < text.size()) refuse(at, "more behind its end");
}

void cut_lines(std::string_view text, CutSamples* cut) {
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(kSpaces) == std::string_view::npos) continue;
    cut->samples.push_back(line);
    cut->lines.push_back(number);
  }
}

}  // namespace

CutSamples cut_samples(std::string_view text, const std::string& source) {
  check_encoding(text, source);
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  CutSamples cut;
  const size_t at = skip_spaces(text, 0);
  if (at < text.size() && text[at] == '[')
    cut_list(text, source, &cut);
  else
    cut_lines(text, &cut);
  if (cut.samples.empty())
    throw InputError(fmt::format(
        "[{}] expected samples as a JSON list or as JSON lines, got none; see docs/sft.md for the forms",
        source));
  return cut;
}

InstructionFile::InstructionFile(const fs::path& path)
    : file_(path), cut_(cut_samples(file_.text(), path.string())) {}

std::string InstructionFile::place(size_t index) const {
  return cut_.lines.empty() ? fmt::format("{}, sample {}", path().string(), index)
                            : fmt::format("{}:{}", path().string(), cut_.lines[index]);
}

std::vector<fs::path> expand_instruction_paths(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code ignored;
    if (!fs::exists(path, ignored))
      throw InputError(fmt::format(
          "[{}] expected a .json or .jsonl file or a folder of them, got nothing of that name; correct the "
          "path",
          path.string()));
    if (!fs::is_directory(path, ignored)) {
      files.push_back(path);
      continue;
    }
    const size_t num_before = files.size();
    for (const fs::path& file : list_directory(path)) {
      const std::string extension = file.extension().string();
      if ((extension == ".json" || extension == ".jsonl") && !file.filename().string().starts_with('.'))
        files.push_back(file);
    }
    if (files.size() == num_before)
      throw InputError(
          fmt::format("[{}] expected a folder with .json or .jsonl files, got none of them", path.string()));
  }
  return files;
}

}  // namespace longlora::data
