// Numbers and texts as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longlora {

/// "1h 02m 03s", "4m 05s" or "6.7s".
std::string format_duration(double seconds);
/// "1.50 GiB", "12.0 MiB", "640 B".
std::string format_bytes(int64_t num_bytes);
/// "1,234,567".
std::string format_count(int64_t count);

/// The number of columns that UTF-8 text takes on a terminal: 2 for wide East Asian characters and emoji, 0
/// for combining marks, 1 for anything else.
int display_width(std::string_view text);
/// `text` itself, or its beginning and an ellipsis where it is wider than `max_width` columns.
std::string shorten(std::string_view text, int max_width);

}  // namespace longlora
