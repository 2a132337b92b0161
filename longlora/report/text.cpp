#include "longlora/report/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "longlora/core/progress.h"
#include "longlora/core/utf8.h"

namespace longlora::report {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

/// Takes the next code point from `text` at `position` (moved past it). A byte
/// that is no part of a character gives U+FFFD.
char32_t next_code_point(std::string_view text, size_t& position) {
  const size_t length = utf8_length(text, position);
  if (length == 0) {
    ++position;
    return kReplacement;
  }
  const auto lead = static_cast<unsigned char>(text[position]);
  char32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    code = (code << 6) | (static_cast<unsigned char>(text[position + i]) & 0x3Fu);
  }
  position += length;
  return code;
}

void append_utf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (code >> 6)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (code >> 12)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (code >> 18)));
    out.push_back(static_cast<char>(0x80 | ((code >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

int code_point_width(char32_t code) {
  const bool is_combining = (code >= 0x300 && code < 0x370) || (code >= 0x200B && code <= 0x200F) ||
                            (code >= 0x20D0 && code < 0x2100) || (code >= 0xFE00 && code <= 0xFE0F);
  const bool is_wide = (code >= 0x1100 && code < 0x1160) || (code >= 0x2E80 && code < 0xA4D0) ||
                       (code >= 0xAC00 && code < 0xD7A4) || (code >= 0xF900 && code < 0xFB00) ||
                       (code >= 0xFF00 && code < 0xFF61) || (code >= 0x1F300 && code < 0x1FB00) ||
                       (code >= 0x20000 && code < 0x40000);
  return is_combining ? 0 : is_wide ? 2 : 1;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_code_point(text, position);
    switch (code) {
      case U'&':
        out += "&amp;";
        break;
      case U'<':
        out += "&lt;";
        break;
      case U'>':
        out += "&gt;";
        break;
      case U'"':
        out += "&quot;";
        break;
      case U'\'':
        out += "&#39;";
        break;
      case U'\n':
      case U'\t':
        out.push_back(static_cast<char>(code));
        break;
      default:
        append_utf8(out, is_control(code) ? kReplacement : code);
    }
  }
  return out;
}

std::string escape_markdown(std::string_view text) {
  std::string out;
  for (const char character : text) {
    if (character == '\n' || character == '\r') {
      out.push_back(' ');
      continue;
    }
    if (std::string_view("|\\`*_<>[]").find(character) != std::string_view::npos) {
      out.push_back('\\');
    }
    out.push_back(character);
  }
  return out;
}

std::string quote_gnuplot(std::string_view text) {
  std::string out = "'";
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_code_point(text, position);
    append_utf8(out, is_control(code) ? U' ' : code == U'\'' ? U'’' : code);
  }
  return out + "'";
}

int display_width(std::string_view text) {
  int width = 0;
  for (size_t position = 0; position < text.size();) {
    width += code_point_width(next_code_point(text, position));
  }
  return width;
}

std::string shorten(std::string_view text, int max_width) {
  if (display_width(text) <= max_width) {
    return std::string(text);
  }
  std::string out;
  int width = 0;
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_code_point(text, position);
    width += code_point_width(code);
    if (width > max_width - 1) {
      break;
    }
    append_utf8(out, code);
  }
  return out + "…";
}

std::string format_perplexity(double value) {
  if (!std::isfinite(value)) {
    return "—";
  }
  if (value < 99.995) {
    return fmt::format("{:.2f}", value);
  }
  if (value < 999.95) {
    return fmt::format("{:.1f}", value);
  }
  return value < 1e15 ? format_count(std::llround(value)) : fmt::format("{:.2e}", value);
}

std::string format_percent(double fraction) {
  if (!std::isfinite(fraction)) {
    return "—";
  }
  const double tenths = std::round(fraction * 1000.0);
  // One trial missed in thousands must not read as "100 %", nor one found as "0 %".
  if (fraction < 1.0 && tenths >= 1000.0) {
    return "> 99.9 %";
  }
  if (fraction > 0.0 && tenths <= 0.0) {
    return "< 0.1 %";
  }
  return tenths == 0.0 || tenths == 1000.0 ? fmt::format("{:.0f} %", tenths / 10.0)
                                           : fmt::format("{:.1f} %", tenths / 10.0);
}

std::string format_short(double value) {
  return std::isfinite(value) ? fmt::format("{:.3g}", value) : "—";
}

std::string encode_base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t num_bytes = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = (group << 8) | (j < num_bytes ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) {
      out.push_back(j <= num_bytes ? kAlphabet[(group >> (18 - 6 * j)) & 63u] : '=');
    }
  }
  return out;
}

}  // namespace longlora::report
