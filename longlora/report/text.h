// Text that comes from data, made safe for where it goes, and numbers made legible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longlora::report {

/// For HTML text and quoted attributes: & < > " ' become entities; control
/// characters other than tab and newline, and bytes that are not UTF-8, become U+FFFD.
std::string escape_html(std::string_view text);

/// For a cell of a Markdown table: | and \ and the marks of emphasis, code and
/// HTML are escaped; line breaks become spaces.
std::string escape_markdown(std::string_view text);

/// A gnuplot string literal in single quotes, in which gnuplot expands nothing.
/// Control characters (a line break would end the command) become spaces, and
/// apostrophes typographic ones: gnuplot's own escape for them is not reliable.
std::string quote_gnuplot(std::string_view text);

/// "3.35", "31.20", "512.3", "12,345": about four significant digits. "—" when not finite.
std::string format_perplexity(double value);

/// A fraction as "97.5 %"; "100 %" and "0 %" only when it is exactly that. "—" when not finite.
std::string format_percent(double fraction);

/// "5e-05" or "0.0012": as short as exact to three digits. "—" when not finite.
std::string format_short(double value);

/// RFC 4648 base64 with padding.
std::string encode_base64(std::string_view bytes);

}  // namespace longlora::report
