#include "longlora/jinja/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "longlora/core/utf8.h"
#include "longlora/jinja/characters.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"

namespace longlora::jinja {

std::string format_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // Python writes the shortest digits that read as the same number.
  std::array<char, 40> buffer;
  const auto scientific =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific);
  const std::string_view shortest(buffer.data(), static_cast<size_t>(scientific.ptr - buffer.data()));
  const size_t exponent_at = shortest.find('e');
  int exponent = 0;
  const char* digits = shortest.data() + exponent_at + 1;
  std::from_chars(*digits == '+' ? digits + 1 : digits, scientific.ptr, exponent);
  if (exponent < -4 || exponent >= 16)
    return fmt::format("{}e{}{:02}", shortest.substr(0, exponent_at), exponent < 0 ? '-' : '+',
                       std::abs(exponent));
  const auto fixed =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  std::string text(buffer.data(), fixed.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

namespace {

[[noreturn]] void fail_print(const Value& value) {
  throw Fault(fmt::format("expected a value that prints the same each time, got a {}{}", value.type_name(),
                          value.is(Kind::kGenerator) ? "; \"|list\" makes a list of it" : ""));
}

// Appends a text with escapes. `escape` returns what stands for a character, or an empty text where the
// character stands for itself.
template <typename Escape>
void append_escaped(const Text& text, Text* out, const Escape& escape) {
  const std::string& bytes = text.bytes();
  size_t copied = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t begin = at;
    const char32_t code = next_character(bytes, at);
    const std::string escaped = escape(code);
    if (escaped.empty()) continue;
    out->append_part(text, copied, begin);
    out->append(escaped, text.origin_at(begin));
    copied = at;
  }
  out->append_part(text, copied, bytes.size());
}

void append_repr(const Text& text, Text* out) {
  const bool doubled =
      text.bytes().find('\'') != std::string::npos && text.bytes().find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  out->append(std::string_view(&quote, 1));
  append_escaped(text, out, [&](char32_t code) -> std::string {
    if (code == static_cast<unsigned char>(quote) || code == '\\') return {'\\', static_cast<char>(code)};
    if (code == '\n') return "\\n";
    if (code == '\r') return "\\r";
    if (code == '\t') return "\\t";
    if (is_printable(code)) return "";
    const auto number = static_cast<uint32_t>(code);
    if (number < 0x100) return fmt::format("\\x{:02x}", number);
    return number < 0x10000 ? fmt::format("\\u{:04x}", number) : fmt::format("\\U{:08x}", number);
  });
  out->append(std::string_view(&quote, 1));
}

void append_value(const Value& value, Text* out);

void append_items(const Values& items, Text* out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out->append(", ");
    append_value(items[i], out);
  }
}

void append_dict(const Entries& entries, Text* out) {
  out->append("{");
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out->append(", ");
    append_value(entries[i].first, out);
    out->append(": ");
    append_value(entries[i].second, out);
  }
  out->append("}");
}

// Appends repr() of a value.
void append_value(const Value& value, Text* out) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return out->append("Undefined");
    case Kind::kNone:
      return out->append("None");
    case Kind::kBool:
      return out->append(value.as_bool() ? "True" : "False");
    case Kind::kInteger:
      return out->append(fmt::format("{}", value.as_integer()));
    case Kind::kFloat:
      return out->append(format_float(value.as_number()));
    case Kind::kText:
      return append_repr(value.as_text(), out);
    case Kind::kList:
      out->append("[");
      append_items(value.items(), out);
      return out->append("]");
    case Kind::kTuple:
      out->append("(");
      append_items(value.items(), out);
      return out->append(value.items().size() == 1 ? ",)" : ")");
    case Kind::kRange:
      if (value.sequence_name().empty()) fail_print(value);  // a part of a range
      return out->append(value.sequence_name());
    case Kind::kView:
      out->append(value.sequence_name());
      out->append("([");
      append_items(value.items(), out);
      return out->append("])");
    case Kind::kDict:
      return append_dict(value.entries(), out);
    default:
      fail_print(value);
  }
}

// Writes JSON as Python's json module does.
class JsonWriter {
 public:
  JsonWriter(const JsonOptions& options, Text* out) : options_(options), out_(out) {}

  void write(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        return out_->append("null");
      case Kind::kBool:
        return out_->append(value.as_bool() ? "true" : "false");
      case Kind::kInteger:
        return out_->append(fmt::format("{}", value.as_integer()));
      case Kind::kFloat:
        return out_->append(number(value.as_number()));
      case Kind::kText:
        return write_text(value.as_text());
      case Kind::kList:
      case Kind::kTuple:
        return write_list(value.items());
      case Kind::kDict:
        return write_dict(value.entries());
      default:
        throw Fault(fmt::format("expected a value that JSON has, got {}", value.type_name()));
    }
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return format_float(value);
  }

  void write_text(const Text& text) {
    out_->append("\"");
    append_escaped(text, out_, [&](char32_t code) -> std::string {
      constexpr std::string_view kNamed = "\"\\\n\r\t\f\b", kNames = "\"\\nrtfb";
      const size_t named = code < 0x80 ? kNamed.find(static_cast<char>(code)) : std::string_view::npos;
      if (named != std::string_view::npos) return {'\\', kNames[named]};
      const auto number = static_cast<uint32_t>(code);
      if (number < 0x20) return fmt::format("\\u{:04x}", number);
      if (number < 0x7F || !options_.ensure_ascii) return "";
      if (number < 0x10000) return fmt::format("\\u{:04x}", number);
      return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((number - 0x10000) >> 10),
                         0xDC00 + (number & 0x3FF));
    });
    out_->append("\"");
  }

  void begin_line() {
    if (!options_.indent) return;
    out_->append("\n");
    for (int i = 0; i < level_; ++i) out_->append(*options_.indent);
  }

  void begin_item(bool is_first) {
    if (!is_first) out_->append(options_.item_separator);
    begin_line();
  }

  void write_list(const Values& items) {
    if (items.empty()) return out_->append("[]");
    out_->append("[");
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      begin_item(i == 0);
      write(items[i]);
    }
    --level_;
    begin_line();
    out_->append("]");
  }

  void write_key(const Value& key) {
    if (key.is_text()) return write_text(key.as_text());
    if (!key.is_numeric() && !key.is(Kind::kNone))
      throw Fault(fmt::format("expected a key that JSON has, got {}", key.type_name()));
    out_->append("\"");
    write(key);
    out_->append("\"");
  }

  void write_dict(Entries entries) {
    if (entries.empty()) return out_->append("{}");
    if (options_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return compare(a.first, b.first) < 0; });
    out_->append("{");
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      begin_item(i == 0);
      write_key(entries[i].first);
      out_->append(options_.key_separator);
      write(entries[i].second);
    }
    --level_;
    begin_line();
    out_->append("}");
  }

  const JsonOptions& options_;
  Text* out_;
  int level_ = 0;
};

}  // namespace

Text to_text(Evaluator& evaluator, const Value& value) {
  evaluator.charge_bytes(value.weight());
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return {};
  return to_repr(evaluator, value);
}

Text to_repr(Evaluator& evaluator, const Value& value) {
  evaluator.charge_bytes(value.weight());
  Text out;
  append_value(value, &out);
  return out;
}

Text to_json(Evaluator& evaluator, const Value& value, const JsonOptions& options) {
  const auto indent = static_cast<int64_t>(options.indent ? options.indent->size() : 0);
  evaluator.charge_bytes(value.weight());
  evaluator.charge_bytes(value.weight() / 16 * indent * value.nesting());  // in front of every item
  Text out;
  JsonWriter(options, &out).write(value);
  return out;
}

}  // namespace longlora::jinja
