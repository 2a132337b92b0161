#include "longlora/tokenizer/unicode.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "longlora/core/utf8.h"

namespace longlora::tokenizer {

namespace {

constexpr size_t kNumCodes = 0x110000;

std::vector<uint8_t> make_classes() {
  std::vector<uint8_t> classes(kNumCodes, 0);
  const auto mark = [&](const std::vector<internal::CodeRange>& ranges, uint8_t bit) {
    for (const internal::CodeRange& range : ranges)
      for (char32_t code = range.first; code <= range.last; ++code) classes[code] |= bit;
  };
  mark(internal::kLetterRanges, kLetter);
  mark(internal::kNumberRanges, kNumber);
  mark(internal::kSpaceRanges, kSpace);
  classes['\r'] |= kNewline;
  classes['\n'] |= kNewline;
  return classes;
}

// How many bytes at text[at] are the longest beginning of a character, where no whole character stands there.
size_t broken_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(at), second = byte(at + 1);
  if (first < 0xE0 || first > 0xF4 || (second & 0xC0) != 0x80) return 1;
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F))
    return 1;
  return first >= 0xF0 && (byte(at + 2) & 0xC0) == 0x80 ? 3 : 2;
}

}  // namespace

const uint8_t* character_classes() {
  static const std::vector<uint8_t> kClasses = make_classes();
  return kClasses.data();
}

std::string replace_broken_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (true) {
    const size_t broken = find_invalid_utf8(text);
    result += text.substr(0, broken);
    if (broken == std::string_view::npos) return result;
    result += kReplacementCharacter;
    text.remove_prefix(broken + broken_length(text, broken));
  }
}

bool is_word_character(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  if (u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL)) return true;
  return (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

}  // namespace longlora::tokenizer
