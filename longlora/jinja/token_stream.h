// Hands out the tokens of a template one after the other. Internal to this room.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/jinja/lexer.h"

namespace longlora::jinja {

class TokenStream {
 public:
  explicit TokenStream(const Source& source) : source_(source), tokens_(tokenize(source)) {}

  const Token& current() const { return tokens_[at_]; }
  /// The token behind the current one.
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  size_t offset() const { return current().offset; }

  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_operator(std::string_view text) const { return is(TokenKind::kOperator) && current().text == text; }
  bool is_name(std::string_view text) const { return is(TokenKind::kName) && current().text == text; }

  Token take() { return at_ + 1 < tokens_.size() ? std::move(tokens_[at_++]) : tokens_[at_]; }
  bool take_operator(std::string_view text) { return is_operator(text) && (take(), true); }
  bool take_name(std::string_view text) { return is_name(text) && (take(), true); }

  /// Each takes a token, and throws InputError where something else stands.
  void expect_operator(std::string_view text);
  void expect_name(std::string_view text);
  Token expect(TokenKind kind, std::string_view what);
  /// Throws InputError that says what was expected and what stands here instead.
  [[noreturn]] void fail_expected(std::string_view what) const;
  [[noreturn]] void fail(size_t offset, const std::string& words) const { source_.fail(offset, words); }

 private:
  const Source& source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace longlora::jinja
