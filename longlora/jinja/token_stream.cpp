#include "longlora/jinja/token_stream.h"

#include <fmt/format.h>

namespace longlora::jinja {

namespace {

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kOutput:
      return "\"{{\"";
    case TokenKind::kEndOutput:
      return "\"}}\"";
    case TokenKind::kTag:
      return "\"{%\"";
    case TokenKind::kEndTag:
      return "\"%}\"";
    case TokenKind::kString:
      return "a text";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return fmt::format("\"{}\"", token.text);
  }
}

}  // namespace

void TokenStream::expect_operator(std::string_view text) {
  if (!take_operator(text)) fail_expected(fmt::format("\"{}\"", text));
}

void TokenStream::expect_name(std::string_view text) {
  if (!take_name(text)) fail_expected(fmt::format("\"{}\"", text));
}

Token TokenStream::expect(TokenKind kind, std::string_view what) {
  if (!is(kind)) fail_expected(what);
  return take();
}

void TokenStream::fail_expected(std::string_view what) const {
  fail(offset(), fmt::format("expected {}, got {}", what, describe(current())));
}

}  // namespace longlora::jinja
