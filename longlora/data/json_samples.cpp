#include "longlora/data/json_samples.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/data/text_encoding.h"

namespace longlora::data {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kSpaces = " \t\r\n";
// A number that stands for NaN and the infinities, for which JSON has no numbers.
constexpr const char* kNotFinite = "1.7e308";
constexpr double kNotFiniteValue = 1.7e308;

size_t skip_spaces(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(kSpaces, at), text.size());
}

// The end of the JSON value that starts at `at`: behind the last bracket of a value in brackets, and
// otherwise before the next comma or bracket. npos when the text ends first.
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

// The beginning of a text, on one line, for a message.
std::string beginning_of(std::string_view text) {
  constexpr size_t kShown = 40;
  std::string shown(text.substr(0, std::min(text.find_first_of("\r\n"), kShown)));
  return replace_invalid_utf8(shown) + (shown.size() < text.size() ? "…" : "");
}

bool is_whole_object(std::string_view text) {
  try {
    return !parse_sample(text, "").empty();
  } catch (const InputError&) {
    return false;
  }
}

// Whether the object at `at` goes on behind its line, as one does that is written with indentation. A broken
// line looks like that, too, but is no whole object together with the lines behind it.
bool is_indented(std::string_view text, size_t at) {
  const size_t line_end = text.find('\n', at);
  if (text[at] != '{' || line_end == std::string_view::npos) return false;
  if (skip_spaces(text.substr(0, line_end), at + 1) == line_end) return true;
  const size_t end = find_value_end(text, at);
  return end != std::string_view::npos && end > line_end && is_whole_object(text.substr(at, end - at));
}

[[noreturn]] void refuse(const std::string& source, const char* expected, size_t at, const std::string& got,
                         size_t num_samples) {
  throw InputError(fmt::format("[{}] expected {}, got {} at byte {}, behind {} samples; is the file whole?",
                               source, expected, got, at, num_samples));
}

void cut_list(std::string_view text, const std::string& source, CutSamples* cut) {
  const auto refuse_at = [&](size_t at, const char* got) {
    refuse(source, "a JSON list", at, got, cut->samples.size());
  };
  size_t at = skip_spaces(text, text.find('[') + 1);
  bool is_done = at < text.size() && text[at] == ']';
  while (!is_done) {
    const size_t end = find_value_end(text, at);
    if (end == std::string_view::npos) refuse_at(text.size(), "the end of the file");
    if (end == at) refuse_at(at, "no element");
    cut->samples.push_back(text.substr(at, end - at));
    at = skip_spaces(text, end);
    if (at == text.size()) refuse_at(at, "the end of the file");
    if (text[at] != ',' && text[at] != ']') refuse_at(at, "neither a comma nor the closing bracket");
    is_done = text[at] == ']';
    if (!is_done) at = skip_spaces(text, at + 1);
  }
  at = skip_spaces(text, at + 1);
  if (at < text.size()) refuse_at(at, "more behind its end");
}

void cut_objects(std::string_view text, const std::string& source, CutSamples* cut) {
  size_t line = 1, counted = 0;  // line numbers are counted up to byte `counted`
  for (size_t at = skip_spaces(text, 0); at < text.size();) {
    line += static_cast<size_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(counted),
                                           text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
    counted = at;
    if (text[at] != '{')
      refuse(source, "JSON objects one after the other", at,
             fmt::format("\"{}\" in line {}", beginning_of(text.substr(at)), line), cut->samples.size());
    const size_t end = find_value_end(text, at);
    if (end == std::string_view::npos)
      refuse(source, "JSON objects one after the other", text.size(),
             fmt::format("the end of the file in the one that begins in line {}", line), cut->samples.size());
    cut->samples.push_back(text.substr(at, end - at));
    cut->lines.push_back(line);
    at = skip_spaces(text, end);
  }
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

bool begins_with_brace(std::string_view line) {
  const size_t at = line.find_first_not_of(kSpaces);
  return at != std::string_view::npos && line[at] == '{';
}

// Finds the end of a bare word (NaN) or a number, and whether it stands for a finite number.
size_t scan_word(std::string_view json, size_t at, bool* is_finite) {
  const auto is_part = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '+' || c == '.';
  };
  size_t end = at;
  while (end < json.size() && is_part(json[end])) ++end;
  const std::string word(json.substr(at, end - at));
  *is_finite = word != "NaN" && word != "Infinity" && word != "-Infinity";
  const bool is_number = word.find_first_not_of("0123456789+-.eE") == std::string::npos;
  if (is_number && std::isinf(std::strtod(word.c_str(), nullptr))) *is_finite = false;
  return std::max(end, at + 1);
}

std::string with_finite_numbers(std::string_view json) {
  std::string text;
  text.reserve(json.size());
  bool in_string = false;
  for (size_t i = 0; i < json.size();) {
    const char c = json[i];
    if (in_string || c == '"') {
      if (c == '"') in_string = !in_string;
      const size_t size = c == '\\' && i + 1 < json.size() ? 2 : 1;
      text += json.substr(i, size);
      i += size;
      continue;
    }
    bool is_finite = true;
    const size_t end = scan_word(json, i, &is_finite);
    text += is_finite ? json.substr(i, end - i) : kNotFinite;
    i = end;
  }
  return text;
}

}  // namespace

std::string CutSamples::place(const std::string& source, size_t index) const {
  return lines.empty() ? fmt::format("{}, sample {}", source, index)
                       : fmt::format("{}:{}", source, lines[index]);
}

CutSamples cut_samples(std::string_view text, const std::string& source) {
  refuse_wide_text(text, source);
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  CutSamples cut;
  const size_t at = skip_spaces(text, 0);
  if (at < text.size() && text[at] == '[')
    cut_list(text, source, &cut);
  else if (at < text.size() && is_indented(text, at))
    cut_objects(text, source, &cut);
  else
    cut_lines(text, &cut);
  if (cut.samples.empty())
    throw InputError(fmt::format(
        "[{}] expected samples as a JSON list or as JSON lines, got none; see docs/sft.md for the forms",
        source));
  if (!cut.lines.empty() && std::none_of(cut.samples.begin(), cut.samples.end(), begins_with_brace))
    throw InputError(fmt::format(
        "[{}] expected a JSON list or JSON lines, got text that begins with \"{}\"; see docs/sft.md and "
        "docs/data-formats.md for the forms",
        source, beginning_of(text.substr(at))));
  return cut;
}

std::optional<Json> first_object(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  size_t at = skip_spaces(text, 0);
  if (at < text.size() && text[at] == '[') at = skip_spaces(text, at + 1);
  if (at == text.size() || text[at] != '{') return std::nullopt;
  const size_t end = find_value_end(text, at);
  if (end == std::string_view::npos) return std::nullopt;
  try {
    return parse_sample(text.substr(at, end - at), "");
  } catch (const InputError&) {
    return std::nullopt;
  }
}

bool holds_json(std::string_view text, const std::function<bool(const Json& object)>& is_known) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  size_t at = skip_spaces(text, 0);
  const bool is_list = at < text.size() && text[at] == '[';
  if (is_list) at = skip_spaces(text, at + 1);
  if (at == text.size() || text[at] != '{') return false;
  const size_t end = find_value_end(text, at);
  if (end == std::string_view::npos || !is_whole_object(text.substr(at, end - at))) return false;
  size_t next = skip_spaces(text, end);
  if (is_list && next < text.size() && text[next] == ',') next = skip_spaces(text, next + 1);
  if (next < text.size() && text[next] == '{') return true;
  const bool is_alone = next == text.size() || (is_list && text[next] == ']');
  return is_alone && is_known(parse_sample(text.substr(at, end - at), ""));
}

Json parse_sample(std::string_view json, const std::string& place) {
  if (const size_t at = find_invalid_utf8(json); at != std::string_view::npos)
    throw InputError(fmt::format("[{}] expected UTF-8, got the byte 0x{:02X} at byte {} of the sample", place,
                                 static_cast<unsigned char>(json[at]), at));
  Json object;
  try {
    object = parse_json(std::string(json), place);
  } catch (const InputError&) {
    const std::string finite = with_finite_numbers(json);
    if (finite == json) throw;
    object = parse_json(finite, place);
  }
  if (!object.is_object())
    throw InputError(fmt::format("[{}] expected a JSON object, got {}", place, object.type_name()));
  return object;
}

bool is_finite(const Json& number) {
  return !number.is_number_float() || std::abs(number.get<double>()) < kNotFiniteValue;
}

const char* kind_of(const Json& value) {
  return is_finite(value) ? value.type_name() : "number that is not finite";
}

std::string field_names(const Json& object) {
  constexpr size_t kNamed = 12;
  std::string names;
  size_t count = 0;
  for (const auto& [name, value] : object.items()) {
    if (++count > kNamed) return names + ", …";
    names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "no fields" : names;
}

}  // namespace longlora::data
