// Cuts a template into tokens. Internal to this room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::jinja {

/// The text of a template as jinja2 reads it: line ends are "\n", and one at the very end is left out.
struct Source {
  std::string name;  // for messages
  std::string text;

  /// Throws InputError "[NAME, line L, column C] WORDS" for the place of the byte `offset`.
  [[noreturn]] void fail(size_t offset, const std::string& words) const;
};

/// Throws InputError for bytes that are no UTF-8.
Source make_source(std::string name, std::string_view text);

enum class TokenKind {
  kData,       // text to write
  kOutput,     // {{
  kEndOutput,  // }}
  kTag,        // {%
  kEndTag,     // %}
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // one of + - / // * % ** ~ [ ] ( ) { } == != > >= < <= = . : | ,
  kEnd,       // of the template
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  size_t offset = 0;  // in the source
  std::string text;   // data, name, operator; a string without quotes and escapes
  int64_t integer = 0;
  double number = 0.0;
};

/// Cuts as jinja2 does with trim_blocks and lstrip_blocks: the line end behind a tag is left out, and so are
/// blanks before a tag that begins a line. Comments are left out, and raw blocks become data. The last token
/// is kEnd. Throws InputError with the place of what is wrong.
std::vector<Token> tokenize(const Source& source);

}  // namespace longlora::jinja
