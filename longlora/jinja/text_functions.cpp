#include "longlora/jinja/text_functions.h"

#include <fmt/format.h>

#include <cstring>

#include "longlora/core/utf8.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/print.h"

namespace longlora::jinja {

const Text& text_argument(const std::optional<Value>& argument, std::string_view what) {
  if (!argument || !argument->is_text())
    throw Fault(
        fmt::format("expected a text for {}, got {}", what, argument ? argument->type_name() : "nothing"));
  return argument->as_text();
}

int64_t integer_argument(const std::optional<Value>& argument, int64_t otherwise, std::string_view what) {
  if (!argument) return otherwise;
  if (!argument->is_integral())
    throw Fault(fmt::format("expected a whole number for {}, got {}", what, argument->type_name()));
  return argument->as_integer();
}

bool truth_argument(const std::optional<Value>& argument, bool otherwise) {
  return argument ? argument->is_true() : otherwise;
}

namespace {

// Each returns the number of bytes at the beginning, or at the end, that are characters of `characters`.
size_t leading_of(std::string_view text, const std::u32string& characters) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (characters.find(next_character(text, next)) == std::u32string::npos) break;
    at = next;
  }
  return at;
}

size_t trailing_of(std::string_view text, const std::u32string& characters) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    size_t at = begin;
    if (characters.find(next_character(text, at)) == std::u32string::npos) break;
    end = begin;
  }
  return text.size() - end;
}

}  // namespace

Text stripped(const Text& text, Side side, const std::optional<Value>& characters) {
  std::string_view rest = text.bytes();
  size_t begin = 0;
  if (!characters || characters->is(Kind::kNone)) {
    if (side != Side::kRight) begin = leading_space(rest);
    rest.remove_prefix(begin);
    return text.part(begin, text.size() - (side != Side::kLeft ? trailing_space(rest) : 0));
  }
  std::u32string set;
  const std::string& listed = text_argument(characters, "the characters to strip").bytes();
  for (size_t at = 0; at < listed.size();) set += next_character(listed, at);
  if (side != Side::kRight) begin = leading_of(rest, set);
  rest.remove_prefix(begin);
  return text.part(begin, text.size() - (side != Side::kLeft ? trailing_of(rest, set) : 0));
}

Text with_case(const Text& text, Case to) {
  Text changed;
  size_t at = 0;
  const std::string_view bytes = text.bytes();
  const auto append_until = [&](size_t end, int32_t origin) {
    if (at < end) changed.append(change_case(bytes.substr(at, end - at), to), origin);
    at = end;
  };
  for (const Mark& mark : text.marks()) {
    append_until(mark.begin, 0);
    append_until(mark.end, mark.origin);
  }
  append_until(bytes.size(), 0);
  return changed;
}

Text capitalized(const Text& text) {
  const size_t first = byte_of_character(text.bytes(), 1);
  Text changed = with_case(text.part(0, first), Case::kTitle);
  changed.append(with_case(text.part(first, text.size()), Case::kLower));
  return changed;
}

Text replaced(Evaluator& evaluator, const Text& text, const Text& old, const Text& by, int64_t count) {
  Text changed;
  const std::string& bytes = text.bytes();
  evaluator.charge_bytes(std::ssize(bytes));
  size_t copied = 0, from = 0;
  for (; count != 0; --count) {
    size_t found = bytes.size() + 1;
    if (from <= bytes.size())
      if (const void* at = memmem(bytes.data() + from, bytes.size() - from, old.bytes().data(), old.size()))
        found = static_cast<size_t>(static_cast<const char*>(at) - bytes.data());
    if (found > bytes.size()) break;
    evaluator.charge_bytes(std::ssize(by.bytes()) + 1);
    changed.append_part(text, copied, found);
    changed.append(by);
    copied = found + old.size();
    from = copied;
    if (old.size() > 0) continue;
    // An empty text is found in front of every character and at the end.
    if (found == bytes.size()) break;
    next_character(bytes, from);
  }
  changed.append_part(text, copied, bytes.size());
  return changed;
}

Values split_lines(Evaluator& evaluator, const Text& text) {
  const std::string& bytes = text.bytes();
  Values lines;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = at;
    const char32_t code = next_character(bytes, at);
    const bool ends = (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
                      code == 0x2028 || code == 0x2029;
    if (!ends) continue;
    if (code == '\r' && at < bytes.size() && bytes[at] == '\n') ++at;
    evaluator.charge_bytes(128);
    lines.push_back(Value::text(text.part(begin, end)));
    begin = at;
  }
  if (begin < bytes.size()) lines.push_back(Value::text(text.part(begin, bytes.size())));
  return lines;
}

Text joined(Evaluator& evaluator, const Values& items, const Text& between) {
  Text text;
  for (size_t i = 0; i < items.size(); ++i) {
    evaluator.charge_bytes(std::ssize(between.bytes()));
    if (i > 0) text.append(between);
    text.append(to_text(evaluator, items[i]));
  }
  return text;
}

}  // namespace longlora::jinja
