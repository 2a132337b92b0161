// Makes text that comes from data safe for its place, and numbers legible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longlora::report {

/// The text for HTML and quoted attributes: & < > " ' become entities. Control characters other than tab and
/// newline, and bytes that are not UTF-8, become U+FFFD.
std::string escape_html(std::string_view text);

/// The text as a gnuplot string in single quotes, in which gnuplot expands nothing. Control characters become
/// spaces, because a line break would end the command. Apostrophes become typographic ones, because gnuplot's
/// own escape for them is not reliable.
std::string quote_gnuplot(std::string_view text);

/// The value with about four significant digits: "3.35", "31.20", "512.3", "12,345"; "—" when it is not
/// finite.
std::string format_perplexity(double value);

/// A fraction as "97.5 %"; "100 %" and "0 %" only where it is exactly that, and "—" when it is not finite.
std::string format_percent(double fraction);

/// The value as short as is exact to three digits: "5e-05" or "0.0012"; "—" when it is not finite.
std::string format_short(double value);

/// How `value` compares with `reference`: "12.3 % lower", "3.4 times higher" or "the same".
std::string compared(double value, double reference);

/// The bytes in base64 (RFC 4648) with padding.
std::string encode_base64(std::string_view bytes);

}  // namespace longlora::report
