// Code points and the classes that splitting rules name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::tokenizer {

/// The classes of a code point, as bits. They are those of the regular expressions in Hugging Face's
/// tokenizers (Unicode 16).
enum CharacterClass : uint8_t {
  kLetter = 1,   // \p{L}
  kNumber = 2,   // \p{N}
  kSpace = 4,    // \s
  kNewline = 8,  // \r and \n, which are kSpace too
};

/// The classes of every code point, in a table of 0x110000 entries that is made on first use.
const uint8_t* character_classes();

/// The character at `at` and its length in bytes. Requires valid UTF-8.
inline char32_t read_character(const char* at, size_t* length) {
  const auto byte = [at](int i) { return static_cast<char32_t>(static_cast<unsigned char>(at[i])); };
  const char32_t first = byte(0);
  if (first < 0x80) {
    *length = 1;
    return first;
  }
  if (first < 0xE0) {
    *length = 2;
    return (first & 0x1F) << 6 | (byte(1) & 0x3F);
  }
  if (first < 0xF0) {
    *length = 3;
    return (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  }
  *length = 4;
  return (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

/// `text` in which one U+FFFD replaces each incomplete character (its longest valid beginning) and each byte
/// that begins none, as Python and Rust decode broken text. core's replace_invalid_utf8 writes one for every
/// byte.
std::string replace_broken_utf8(std::string_view text);

/// Whether \w of Rust's regular expressions matches the character.
bool is_word_character(char32_t code);

namespace internal {

struct CodeRange {
  char32_t first, last;
};
extern const std::vector<CodeRange> kLetterRanges, kNumberRanges, kSpaceRanges;

}  // namespace internal

}  // namespace longlora::tokenizer
