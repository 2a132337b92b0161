#include "longlora/report/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/core/utf8.h"

namespace longlora::report {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_character(text, position);
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
        append_character(is_control(code) ? kReplacement : code, &out);
    }
  }
  return out;
}

std::string quote_gnuplot(std::string_view text) {
  std::string out = "'";
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_character(text, position);
    append_character(is_control(code) ? U' ' : code == U'\'' ? U'’' : code, &out);
  }
  return out + "'";
}

std::string format_perplexity(double value) {
  if (!std::isfinite(value)) return "—";
  if (value < 99.995) return fmt::format("{:.2f}", value);
  if (value < 999.95) return fmt::format("{:.1f}", value);
  return value < 1e15 ? format_count(std::llround(value)) : fmt::format("{:.2e}", value);
}

std::string format_percent(double fraction) {
  if (!std::isfinite(fraction)) return "—";
  const double tenths = std::round(fraction * 1000.0);
  // One trial missed in thousands must not read as "100 %", nor one found as "0 %".
  if (fraction < 1.0 && tenths >= 1000.0) return "> 99.9 %";
  if (fraction > 0.0 && tenths <= 0.0) return "< 0.1 %";
  return tenths == 0.0 || tenths == 1000.0 ? fmt::format("{:.0f} %", tenths / 10.0)
                                           : fmt::format("{:.1f} %", tenths / 10.0);
}

std::string format_short(double value) {
  return std::isfinite(value) ? fmt::format("{:.3g}", value) : "—";
}

std::string compared(double value, double reference) {
  const double ratio = value / reference;
  if (std::abs(ratio - 1) < 0.0005) return "the same";
  const char* direction = ratio < 1 ? "lower" : "higher";
  const double larger = std::max(ratio, 1 / ratio);
  return larger >= 2 ? fmt::format("{:.3g} times {}", larger, direction)
                     : fmt::format("{:.1f} % {}", std::abs(ratio - 1) * 100, direction);
}

std::string encode_base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t num_bytes = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j)
      group = (group << 8) | (j < num_bytes ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j)
      out.push_back(j <= num_bytes ? kAlphabet[(group >> (18 - 6 * j)) & 63u] : '=');
  }
  return out;
}

}  // namespace longlora::report
