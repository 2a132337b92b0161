// Brings text files into one form, whatever their encoding, byte order mark and line ends.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace longlora::data {

enum class TextEncoding { kUtf8, kUtf8WithMark, kLatin1, kWindows1252 };

/// The name of an encoding for messages: "UTF-8", "UTF-8 with byte order mark", "Latin-1 (assumed)",
/// "Windows-1252 (assumed)".
const char* encoding_name(TextEncoding encoding);

/// Decides from all bytes of a file: they are UTF-8 when they are valid as such, else Windows-1252 when a
/// byte from 0x80 to 0x9F occurs (unused controls in Latin-1), else Latin-1. Throws InputError naming `path`
/// for UTF-16 or UTF-32, and for bytes that are neither UTF-8 nor text (a zero byte).
TextEncoding detect_encoding(std::string_view bytes, const std::filesystem::path& path);

/// Throws InputError naming `source` for UTF-16 or UTF-32, and says how to convert it. It is recognised by a
/// byte order mark, or by zero bytes in every other place.
void refuse_wide_text(std::string_view bytes, const std::string& source);

/// The bytes as UTF-8. `bytes` may be a part of a file; a byte order mark must have been removed.
std::string to_utf8(std::string_view bytes, TextEncoding encoding);

/// Removes the byte order mark that detect_encoding found.
std::string_view without_mark(std::string_view bytes, TextEncoding encoding);

/// Turns every CRLF into LF, in place; a CR by itself stays. Returns whether there was any.
bool convert_line_ends(std::string* text);

}  // namespace longlora::data
