#include "longlora/core/utf8.h"

#include <cstdint>
#include <cstring>

namespace longlora {

namespace {

bool is_continuation(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

// The length of the run of ASCII at `at`, found eight bytes at a time.
size_t ascii_run(std::string_view text, size_t at) {
  const size_t start = at;
  while (at + sizeof(uint64_t) <= text.size()) {
    uint64_t block;
    std::memcpy(&block, text.data() + at, sizeof block);
    if ((block & 0x8080808080808080u) != 0) break;
    at += sizeof block;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at - start;
}

}  // namespace

size_t utf8_length(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;  // continuation, overlong, or beyond U+10FFFF
  if (!is_continuation(text, at + 1)) return 0;
  if (first < 0xE0) return 2;
  const auto second = static_cast<unsigned char>(text[at + 1]);
  if (!is_continuation(text, at + 2)) return 0;
  if (first < 0xF0) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second >= 0xA0;
    return overlong || surrogate ? 0 : 3;
  }
  const bool overlong = first == 0xF0 && second < 0x90;
  const bool beyond = first == 0xF4 && second >= 0x90;
  return overlong || beyond || !is_continuation(text, at + 3) ? 0 : 4;
}

size_t find_invalid_utf8(std::string_view text) {
  size_t at = 0;
  while (true) {
    at += ascii_run(text, at);
    if (at == text.size()) return std::string_view::npos;
    const size_t length = utf8_length(text, at);
    if (length == 0) return at;
    at += length;
  }
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string result;
  while (true) {
    const size_t invalid = find_invalid_utf8(text);
    result += text.substr(0, invalid);
    if (invalid == std::string_view::npos) return result;
    result += kReplacementCharacter;
    text.remove_prefix(invalid + 1);
  }
}

char32_t next_character(std::string_view text, size_t& position) {
  const size_t length = utf8_length(text, position);
  if (length == 0) {
    ++position;
    return 0xFFFD;
  }
  const auto first = static_cast<unsigned char>(text[position]);
  char32_t code = length == 1 ? first : first & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i)
    code = (code << 6) | (static_cast<unsigned char>(text[position + i]) & 0x3Fu);
  position += length;
  return code;
}

void append_character(char32_t code, std::string* text) {
  const auto add = [text](char32_t byte) { *text += static_cast<char>(byte); };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      add(0xE0 | code >> 12);
    } else {
      add(0xF0 | code >> 18);
      add(0x80 | (code >> 12 & 0x3F));
    }
    add(0x80 | (code >> 6 & 0x3F));
  }
  add(0x80 | (code & 0x3F));
}

}  // namespace longlora
