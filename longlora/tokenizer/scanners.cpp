// The splitting rules of the known models, written by hand. They find what the models' regular expressions
// match, alternative by alternative, and read each character about once.
#include <algorithm>
#include <array>
#include <cstring>

#include "longlora/tokenizer/splitters.h"
#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

constexpr uint8_t kNotOther = kLetter | kNumber | kSpace;

uint8_t class_at(const uint8_t* classes, const char* at, size_t* length) {
  return classes[read_character(at, length)];
}

// The end of the run of characters whose class has one of `bits`.
const char* skip_class(const uint8_t* classes, const char* at, const char* end, uint8_t bits) {
  size_t length = 0;
  while (at < end && (class_at(classes, at, &length) & bits) != 0) at += length;
  return at;
}

// The end of the run of characters that are no letter, number or space.
const char* skip_other(const uint8_t* classes, const char* at, const char* end) {
  size_t length = 0;
  while (at < end && (class_at(classes, at, &length) & kNotOther) == 0) at += length;
  return at;
}

// \s+(?!\S)|\s+ takes all spaces but the last, which goes with the word behind them, and all of them at the
// end of the text. Requires a space at `at`.
const char* scan_spaces(const uint8_t* classes, const char* at, const char* end) {
  size_t length = 0;
  const char* last = at;
  const char* stop = at;
  while (stop < end && (class_at(classes, stop, &length) & kSpace) != 0) {
    last = stop;
    stop += length;
  }
  return stop == end || last == at ? stop : last;
}

// The length of 's 't 're 've 'm 'll 'd behind an apostrophe at `at`, or 0.
size_t contraction_length(const char* at, const char* end, bool any_case) {
  const auto lower = [&](const char* place) {
    return any_case && *place >= 'A' && *place <= 'Z' ? static_cast<char>(*place | 0x20) : *place;
  };
  if (end - at < 2) return 0;
  const char first = lower(at + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (end - at < 3) return 0;
  // The long s counts as an s in another case.
  if (any_case && at[1] == '\xC5' && at[2] == '\xBF') return 3;
  const char second = lower(at + 2);
  const bool matches =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return matches ? 3 : 0;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,N}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <int MaxDigits>
const char* scan_modern_word(const char* at, const char* end) {
  const uint8_t* classes = character_classes();
  if (*at == '\'') {
    const size_t length = contraction_length(at, end, true);
    if (length > 0) return at + length;
  }
  size_t length = 0;
  const uint8_t first = class_at(classes, at, &length);
  const char* after = at + length;
  if ((first & kLetter) != 0) return skip_class(classes, after, end, kLetter);
  if ((first & kNumber) != 0) {
    for (int i = 1; i < MaxDigits && after < end; ++i) {
      if ((class_at(classes, after, &length) & kNumber) == 0) break;
      after += length;
    }
    return after;
  }
  const uint8_t second = after < end ? class_at(classes, after, &length) : uint8_t{kSpace};
  if ((first & kNewline) == 0 && (second & kLetter) != 0)
    return skip_class(classes, after + length, end, kLetter);
  const bool is_space = (first & kSpace) != 0;
  if (!is_space || (*at == ' ' && (second & kNotOther) == 0))
    return skip_class(classes, skip_other(classes, after, end), end, kNewline);
  // \s*[\r\n]+ ends behind the last newline of the run of spaces.
  const char* last_newline = nullptr;
  for (const char* place = at; place < end;) {
    const uint8_t each = class_at(classes, place, &length);
    if ((each & kSpace) == 0) break;
    place += length;
    if ((each & kNewline) != 0) last_newline = place;
  }
  return last_newline != nullptr ? last_newline : scan_spaces(classes, at, end);
}

}  // namespace

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
const char* scan_gpt2_word(const char* at, const char* end) {
  const uint8_t* classes = character_classes();
  if (*at == '\'') {
    const size_t length = contraction_length(at, end, false);
    if (length > 0) return at + length;
  }
  const char* start = *at == ' ' && at + 1 < end ? at + 1 : at;
  size_t length = 0;
  const uint8_t first = class_at(classes, start, &length);
  if ((first & kLetter) != 0) return skip_class(classes, start + length, end, kLetter);
  if ((first & kNumber) != 0) return skip_class(classes, start + length, end, kNumber);
  if ((first & kSpace) == 0) return skip_other(classes, start + length, end);
  return scan_spaces(classes, at, end);
}

const char* scan_llama3_word(const char* at, const char* end) {
  return scan_modern_word<3>(at, end);
}

const char* scan_qwen_word(const char* at, const char* end) {
  return scan_modern_word<1>(at, end);
}

WordScanner find_scanner(const std::string& pattern) {
  struct Known {
    const char* pattern;
    WordScanner scanner;
  };
  static constexpr std::array kKnown = {
      Known{R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", scan_gpt2_word},
      Known{R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", scan_gpt2_word},
      Known{kLlama3Rule, scan_llama3_word},
      Known{kQwenRule, scan_qwen_word},
  };
  const auto found = std::find_if(kKnown.begin(), kKnown.end(),
                                  [&](const Known& known) { return pattern == known.pattern; });
  return found == kKnown.end() ? nullptr : found->scanner;
}

}  // namespace longlora::tokenizer
