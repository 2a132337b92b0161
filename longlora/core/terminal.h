// Standard error, shared by log lines and the progress line.
#pragma once

#include <string_view>

namespace longlora::internal {

/// Writes one line; an unfinished progress line is cleared first. Thread-safe.
void write_line(std::string_view line);

/// Rewrites the progress line of a terminal in place, without a line end.
void rewrite_progress_line(std::string_view line);

/// Whether standard error is a terminal that understands being rewritten.
bool is_terminal();

}  // namespace longlora::internal
