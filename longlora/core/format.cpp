#include "longlora/core/format.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "longlora/core/utf8.h"

namespace longlora {

namespace {

// The number of columns that a character takes.
int character_width(char32_t code) {
  const bool is_combining = (code >= 0x300 && code < 0x370) || (code >= 0x200B && code <= 0x200F) ||
                            (code >= 0x20D0 && code < 0x2100) || (code >= 0xFE00 && code <= 0xFE0F);
  const bool is_wide = (code >= 0x1100 && code < 0x1160) || (code >= 0x2E80 && code < 0xA4D0) ||
                       (code >= 0xAC00 && code < 0xD7A4) || (code >= 0xF900 && code < 0xFB00) ||
                       (code >= 0xFF00 && code < 0xFF61) || (code >= 0x1F300 && code < 0x1FB00) ||
                       (code >= 0x20000 && code < 0x40000);
  return is_combining ? 0 : is_wide ? 2 : 1;
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 59.95) return fmt::format("{:.1f}s", seconds);
  const int64_t whole = std::llround(std::min(seconds, 1e15));
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  if (hours > 0) return fmt::format("{}h {:02}m {:02}s", hours, minutes, whole % 60);
  return fmt::format("{}m {:02}s", minutes, whole % 60);
}

std::string format_bytes(int64_t num_bytes) {
  if (num_bytes < 0) return fmt::format("-{}", format_bytes(num_bytes == INT64_MIN ? INT64_MAX : -num_bytes));
  if (num_bytes < 1024) return fmt::format("{} B", num_bytes);
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(num_bytes) / 1024;
  size_t unit = 0;
  // From 1023.95 on, one decimal would show 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : 1, kUnits[unit]);
}

std::string format_count(int64_t count) {
  std::string digits = fmt::format("{}", count);
  const size_t first = count < 0 ? 1 : 0;
  for (size_t place = digits.size(); place > first + 3;) {
    place -= 3;
    digits.insert(place, 1, ',');
  }
  return digits;
}

int display_width(std::string_view text) {
  int width = 0;
  for (size_t position = 0; position < text.size();) width += character_width(next_character(text, position));
  return width;
}

std::string shorten(std::string_view text, int max_width) {
  if (display_width(text) <= max_width) return std::string(text);
  std::string shortened;
  int width = 0;
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_character(text, position);
    width += character_width(code);
    if (width > max_width - 1) break;
    append_character(code, &shortened);
  }
  return shortened + "…";
}

}  // namespace longlora
