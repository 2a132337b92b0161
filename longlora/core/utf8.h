// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, at most U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace longlora {

/// U+FFFD, which stands for a byte that is no part of a character.
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// The number of bytes of the character that starts at `text[at]`, or 0 when none starts there. Requires at <
/// text.size().
size_t utf8_length(std::string_view text, size_t at);

/// Offset of the first byte that is no part of a character, or npos.
size_t find_invalid_utf8(std::string_view text);

/// `text` with every byte that is no part of a character replaced by U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

/// Reads the character at `position` and moves `position` behind it. A byte that is no part of a character
/// reads as U+FFFD. Requires position < text.size().
char32_t next_character(std::string_view text, size_t& position);

/// Appends `code` as UTF-8.
void append_character(char32_t code, std::string* text);

}  // namespace longlora
