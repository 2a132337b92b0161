// Classifies characters as Python's str does.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace longlora::jinja {

/// These are Python's str.isspace() and its like, for one character.
bool is_space(char32_t code);
/// Whether Python's repr() writes the character as it is.
bool is_printable(char32_t code);
bool is_letter(char32_t code);
bool is_digit(char32_t code);
bool is_cased(char32_t code);
bool is_lower(char32_t code);
bool is_upper(char32_t code);

/// The number of characters of a text in UTF-8.
size_t num_characters(std::string_view text);
/// The byte at which the character numbered `index` begins, and text.size() for one behind the last.
size_t byte_of_character(std::string_view text, size_t index);
/// The number of bytes of white space at the beginning of a text, and at its end.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);

enum class Case { kLower, kUpper, kTitle };
/// Maps the case of a text by Unicode's full mapping, independent of a language. kTitle maps a single
/// character.
std::string change_case(std::string_view text, Case to);

}  // namespace longlora::jinja
