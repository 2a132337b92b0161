#include "longlora/jinja/characters.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>

#include "longlora/core/utf8.h"

namespace longlora::jinja {

bool is_space(char32_t code) {
  if (code < 0x80) return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20);
  constexpr std::array<char32_t, 8> kOthers = {0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  return (code >= 0x2000 && code <= 0x200A) ||
         std::find(kOthers.begin(), kOthers.end(), code) != kOthers.end();
}

bool is_printable(char32_t code) {
  if (code < 0x80) return code >= 0x20 && code < 0x7F;
  constexpr uint32_t kOthers = U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK | U_GC_CN_MASK |
                               U_GC_ZL_MASK | U_GC_ZP_MASK | U_GC_ZS_MASK;
  return (U_MASK(u_charType(static_cast<UChar32>(code))) & kOthers) == 0;
}

bool is_letter(char32_t code) {
  return (U_MASK(u_charType(static_cast<UChar32>(code))) & U_GC_L_MASK) != 0;
}

bool is_digit(char32_t code) {
  const auto type = u_getIntPropertyValue(static_cast<UChar32>(code), UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}

bool is_lower(char32_t code) {
  return u_isULowercase(static_cast<UChar32>(code)) != 0;
}

bool is_upper(char32_t code) {
  return u_isUUppercase(static_cast<UChar32>(code)) != 0;
}

bool is_cased(char32_t code) {
  return is_lower(code) || is_upper(code) || u_charType(static_cast<UChar32>(code)) == U_TITLECASE_LETTER;
}

namespace {

bool begins_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

}  // namespace

size_t num_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

size_t byte_of_character(std::string_view text, size_t index) {
  size_t at = 0;
  for (; at < text.size(); ++at)
    if (begins_character(text[at]) && index-- == 0) break;
  return at;
}

size_t leading_space(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!is_space(next_character(text, next))) break;
    at = next;
  }
  return at;
}

size_t trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && !begins_character(text[begin])) --begin;
    size_t at = begin;
    if (!is_space(next_character(text, at))) break;
    end = begin;
  }
  return text.size() - end;
}

std::string change_case(std::string_view text, Case to) {
  std::string changed(text);
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
    for (char& c : changed) {
      if (to == Case::kLower && c >= 'A' && c <= 'Z') c += 'a' - 'A';
      if (to != Case::kLower && c >= 'a' && c <= 'z') c -= 'a' - 'A';
    }
    return changed;
  }
  auto wide = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  if (to == Case::kLower)
    wide.toLower(icu::Locale::getRoot());
  else if (to == Case::kUpper)
    wide.toUpper(icu::Locale::getRoot());
  else
    wide.toTitle(nullptr, icu::Locale::getRoot());
  changed.clear();
  wide.toUTF8String(changed);
  return changed;
}

}  // namespace longlora::jinja
