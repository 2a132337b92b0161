#include "longlora/data/text_encoding.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"

namespace longlora::data {

namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";

// The characters of Windows-1252 from 0x80 to 0x9F. Its five gaps stay the control characters of Latin-1.
constexpr std::array<uint16_t, 32> kWindows1252 = {
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178};

// The encoding of text in units of two or four bytes, as iconv calls it; null for any other text. Without a
// byte order mark it is recognised by zero bytes that all stand in even or all in odd places.
const char* wide_encoding(std::string_view bytes) {
  using namespace std::string_view_literals;
  constexpr size_t kLooked = 4096, kFewest = 4;
  if (bytes.starts_with("\xFF\xFE\0\0"sv) || bytes.starts_with("\0\0\xFE\xFF"sv)) return "UTF-32";
  if (bytes.starts_with("\xFF\xFE"sv) || bytes.starts_with("\xFE\xFF"sv)) return "UTF-16";
  const std::string_view beginning = bytes.substr(0, kLooked);
  std::array<size_t, 2> zeros{};
  for (size_t i = 0; i < beginning.size(); ++i) zeros[i % 2] += beginning[i] == '\0' ? 1 : 0;
  const auto [fewer, more] = std::minmax(zeros[0], zeros[1]);
  if (fewer > 0 || more < kFewest || more < beginning.size() / 8) return nullptr;
  return zeros[0] > 0 ? "UTF-16BE" : "UTF-16LE";
}

}  // namespace

const char* encoding_name(TextEncoding encoding) {
  switch (encoding) {
    case TextEncoding::kUtf8:
      return "UTF-8";
    case TextEncoding::kUtf8WithMark:
      return "UTF-8 with byte order mark";
    case TextEncoding::kLatin1:
      return "Latin-1 (assumed)";
    case TextEncoding::kWindows1252:
      return "Windows-1252 (assumed)";
  }
  return "unknown";
}

void refuse_wide_text(std::string_view bytes, const std::string& source) {
  const char* encoding = wide_encoding(bytes);
  if (encoding == nullptr) return;
  throw InputError(fmt::format(
      "[{}] expected UTF-8 or Latin-1 text, got {}; convert it: iconv -f {} -t UTF-8 '{}' > NEW_FILE", source,
      encoding, encoding, source));
}

TextEncoding detect_encoding(std::string_view bytes, const std::filesystem::path& path) {
  refuse_wide_text(bytes, path.string());
  const size_t invalid = find_invalid_utf8(bytes);
  if (invalid == std::string_view::npos)
    return bytes.starts_with(kMark) ? TextEncoding::kUtf8WithMark : TextEncoding::kUtf8;
  if (bytes.find('\0') != std::string_view::npos) {
    throw InputError(
        fmt::format("[{}] expected text, got binary data (byte {} is no UTF-8 and there are zero "
                    "bytes); name text files only",
                    path.string(), invalid));
  }
  const bool has_c1 = std::any_of(bytes.begin(), bytes.end(),
                                  [](char c) { return (static_cast<unsigned char>(c) & 0xE0) == 0x80; });
  return has_c1 ? TextEncoding::kWindows1252 : TextEncoding::kLatin1;
}

std::string to_utf8(std::string_view bytes, TextEncoding encoding) {
  if (encoding == TextEncoding::kUtf8 || encoding == TextEncoding::kUtf8WithMark) return std::string(bytes);
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 8);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    const bool remapped = encoding == TextEncoding::kWindows1252 && (byte & 0xE0) == 0x80;
    append_character(remapped ? kWindows1252[byte - 0x80u] : byte, &text);
  }
  return text;
}

std::string_view without_mark(std::string_view bytes, TextEncoding encoding) {
  if (encoding == TextEncoding::kUtf8WithMark) bytes.remove_prefix(kMark.size());
  return bytes;
}

bool convert_line_ends(std::string* text) {
  size_t read = text->find("\r\n");
  if (read == std::string::npos) return false;
  size_t write = read;
  for (; read < text->size(); ++read) {
    const bool pair = (*text)[read] == '\r' && read + 1 < text->size() && (*text)[read + 1] == '\n';
    if (!pair) (*text)[write++] = (*text)[read];
  }
  text->resize(write);
  return true;
}

}  // namespace longlora::data
