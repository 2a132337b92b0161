#include "longlora/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/jinja/characters.h"

namespace longlora::jinja {

namespace {

bool is_decimal(char c) {
  return c >= '0' && c <= '9';
}
bool begins_name(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_of_name(char c) {
  return begins_name(c) || is_decimal(c);
}

// Cuts a template into tokens from left to right.
class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), text_(source.text) {}

  std::vector<Token> run() {
    while (read_data()) {
    }
    add(TokenKind::kEnd, text_.size());
    return std::move(tokens_);
  }

 private:
  bool starts_with(size_t at, std::string_view word) const { return text_.substr(at).starts_with(word); }

  Token& add(TokenKind kind, size_t offset, std::string text = "") {
    tokens_.push_back({kind, offset, std::move(text)});
    return tokens_.back();
  }

  void skip_space() { at_ += leading_space(text_.substr(at_)); }

  // Returns the place of the next {{, {% or {#.
  size_t find_opening(size_t from) const {
    for (size_t at = text_.find('{', from); at != std::string_view::npos; at = text_.find('{', at + 1))
      if (at + 1 < text_.size() && std::strchr("{%#", text_[at + 1]) != nullptr) return at;
    return std::string_view::npos;
  }

  // Takes the "-" or "+" behind an opening, or returns '\0'.
  char read_sign() {
    const char sign = at_ < text_.size() ? text_[at_] : '\0';
    if (sign != '-' && sign != '+') return '\0';
    ++at_;
    return sign;
  }

  // Adds the data between two tags, without the space that the sign of the second tag strips.
  void add_data(size_t begin, size_t end, char sign, bool is_output) {
    std::string_view data = text_.substr(begin, end - begin);
    if (sign == '-') {
      data.remove_suffix(trailing_space(data));
    } else if (sign != '+' && !is_output) {
      const size_t line = data.rfind('\n') + 1;
      const bool begins_line = line > 0 || line_starts_;
      if (begins_line && leading_space(data.substr(line)) == data.size() - line) data = data.substr(0, line);
    }
    if (!data.empty()) add(TokenKind::kData, begin, std::string(data));
  }

  // Takes the end of a tag or comment, and the space that it strips. Returns false where none stands here.
  bool read_closing(std::string_view closing, bool takes_line_end) {
    const size_t begin = at_;
    const char sign = at_ < text_.size() ? text_[at_] : '\0';
    const bool signed_closing =
        (sign == '-' || (sign == '+' && takes_line_end)) && starts_with(at_ + 1, closing);
    if (!signed_closing && !starts_with(at_, closing)) return false;
    at_ += closing.size() + (signed_closing ? 1 : 0);
    if (signed_closing && sign == '-')
      skip_space();
    else if (!signed_closing && takes_line_end && at_ < text_.size() && text_[at_] == '\n')
      ++at_;
    line_starts_ = text_.substr(begin, at_ - begin).back() == '\n';
    return true;
  }

  bool read_data() {
    const size_t begin = at_;
    const size_t opening = find_opening(begin);
    if (opening == std::string_view::npos) {
      if (begin < text_.size()) add(TokenKind::kData, begin, std::string(text_.substr(begin)));
      return false;
    }
    const char kind = text_[opening + 1];
    at_ = opening + 2;
    const char sign = read_sign();
    add_data(begin, opening, sign, kind == '{');
    line_starts_ = false;
    if (kind == '#')
      read_comment(opening);
    else if (kind == '%' && is_raw_tag())
      read_raw(opening);
    else
      read_code(opening, kind == '{');
    return true;
  }

  void read_comment(size_t opening) {
    for (; at_ < text_.size(); ++at_)
      if (read_closing("#}", true)) return;
    source_.fail(opening, "expected the end of a comment, #}, got the end of the template");
  }

  // Takes {% raw %}, of which the opening was read. Returns false where another tag stands here.
  bool is_raw_tag() {
    const size_t begin = at_;
    if (read_word("raw")) {
      skip_space();
      if (read_closing("%}", false)) return true;
    }
    at_ = begin;
    return false;
  }

  bool read_word(std::string_view word) {
    skip_space();
    if (!starts_with(at_, word)) return false;
    at_ += word.size();
    return true;
  }

  void read_raw(size_t opening) {
    const size_t begin = at_;
    for (size_t tag = text_.find("{%", begin); tag != std::string_view::npos;
         tag = text_.find("{%", tag + 1)) {
      at_ = tag + 2;
      const char sign = read_sign();
      if (!read_word("endraw")) continue;
      skip_space();
      const bool line_started = line_starts_;
      if (!read_closing("%}", true)) continue;
      const bool line_starts_next = line_starts_;
      line_starts_ = line_started;
      add_data(begin, tag, sign, false);
      line_starts_ = line_starts_next;
      return;
    }
    source_.fail(opening, "expected {% endraw %}, got the end of the template");
  }

  void read_code(size_t opening, bool is_output) {
    add(is_output ? TokenKind::kOutput : TokenKind::kTag, opening);
    std::string open_brackets;
    while (true) {
      if (open_brackets.empty()) {
        const size_t end = at_;
        if (is_output ? read_closing("}}", false) : read_closing("%}", true)) {
          add(is_output ? TokenKind::kEndOutput : TokenKind::kEndTag, end);
          return;
        }
      }
      const size_t space = leading_space(text_.substr(at_));
      if (space > 0)
        at_ += space;
      else if (at_ == text_.size())
        source_.fail(opening, fmt::format("expected the end of this tag, {}, got the end of the template",
                                          is_output ? "}}" : "%}"));
      else
        read_token(&open_brackets);
    }
  }

  void read_token(std::string* open_brackets) {
    const char c = text_[at_];
    if (is_decimal(c))
      read_number();
    else if (begins_name(c))
      read_name();
    else if (c == '\'' || c == '"')
      read_string(c);
    else
      read_operator(open_brackets);
  }

  void read_name() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_of_name(text_[at_])) ++at_;
    if (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) >= 0x80)
      source_.fail(at_, "expected a name of ASCII letters, digits and _, got another character");
    add(TokenKind::kName, begin, std::string(text_.substr(begin, at_ - begin)));
  }

  void read_operator(std::string* open_brackets) {
    constexpr std::array kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                       "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [&](const char* candidate) { return starts_with(at_, candidate); });
    if (found == kOperators.end()) {
      size_t next = at_;
      next_character(text_, next);
      source_.fail(at_, fmt::format("expected a name, a value or an operator, got \"{}\"",
                                    text_.substr(at_, next - at_)));
    }
    constexpr std::string_view kOpening = "([{", kClosing = ")]}";
    const char c = **found;
    if (kOpening.find(c) != std::string_view::npos) {
      *open_brackets += kClosing[kOpening.find(c)];
    } else if (kClosing.find(c) != std::string_view::npos) {
      if (open_brackets->empty() || open_brackets->back() != c)
        source_.fail(at_, open_brackets->empty()
                              ? fmt::format("expected an operator or the end of the tag, got \"{}\"", c)
                              : fmt::format("expected \"{}\", got \"{}\"", open_brackets->back(), c));
      open_brackets->pop_back();
    }
    add(TokenKind::kOperator, at_, *found);
    at_ += std::strlen(*found);
  }

  // Returns the end of digits with single underscores between them.
  size_t end_of_digits(size_t at) const {
    while (at < text_.size() && (is_decimal(text_[at]) ||
                                 (text_[at] == '_' && at + 1 < text_.size() && is_decimal(text_[at + 1]))))
      ++at;
    return at;
  }

  void read_number() {
    const size_t begin = at_;
    const auto is_digit_at = [&](size_t at) { return at < text_.size() && is_decimal(text_[at]); };
    size_t end = end_of_digits(begin);
    bool is_float = false;
    const bool may_be_float = begin == 0 || text_[begin - 1] != '.';
    if (may_be_float && end < text_.size() && text_[end] == '.' && is_digit_at(end + 1)) {
      is_float = true;
      end = end_of_digits(end + 1);
    }
    if (may_be_float && end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      const size_t sign = end + 1 < text_.size() && (text_[end + 1] == '+' || text_[end + 1] == '-') ? 1 : 0;
      if (is_digit_at(end + 1 + sign)) {
        is_float = true;
        end = end_of_digits(end + 1 + sign);
      }
    }
    if (end < text_.size() && is_of_name(text_[end]))
      source_.fail(
          begin, fmt::format("expected a decimal number, got \"{}\"", text_.substr(begin, end + 1 - begin)));
    std::string digits(text_.substr(begin, end - begin));
    std::erase(digits, '_');
    at_ = end;
    Token& token = add(is_float ? TokenKind::kFloat : TokenKind::kInteger, begin, digits);
    const char* last = digits.data() + digits.size();
    if (is_float) {
      std::from_chars(digits.data(), last, token.number);
      return;
    }
    if (digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos)
      source_.fail(begin, fmt::format("expected a number without leading zeros, got \"{}\"", digits));
    if (std::from_chars(digits.data(), last, token.integer).ec != std::errc())
      source_.fail(begin, fmt::format("expected a whole number of 64 bits, got {}", digits));
  }

  void read_string(char quote) {
    const size_t begin = at_++;
    std::string value;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '\\')
        read_escape(&value);
      else
        value += text_[at_++];
    }
    if (at_ >= text_.size())
      source_.fail(begin, fmt::format("expected the end of a text, {}, got the end of the template", quote));
    ++at_;
    add(TokenKind::kString, begin, std::move(value));
  }

  // Reads an escape as Python does.
  void read_escape(std::string* value) {
    const size_t begin = at_++;
    if (at_ >= text_.size()) return;
    constexpr std::string_view kNames = "abfnrtv\\'\"", kBytes = "\a\b\f\n\r\t\v\\'\"";
    const char c = text_[at_++];
    if (const size_t simple = kNames.find(c); simple != std::string_view::npos)
      *value += kBytes[simple];
    else if (c == 'x' || c == 'u' || c == 'U')
      append_code(read_digits(begin, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16), begin, value);
    else if (c >= '0' && c <= '7')
      append_code(read_octal(), begin, value);
    else if (c == 'N')
      source_.fail(begin,
                   "expected a character by its number, got one by its name (\\N), which is not supported");
    else if (c != '\n')
      value->append({'\\', c});
  }

  uint32_t read_digits(size_t begin, size_t count, int base) {
    uint32_t code = 0;
    const char* first = text_.data() + at_;
    const char* last = first + std::min(count, text_.size() - at_);
    const auto [end, error] = std::from_chars(first, last, code, base);
    if (error != std::errc() || end != first + count)
      source_.fail(begin, fmt::format("expected {} hexadecimal digits in an escape", count));
    at_ += count;
    return code;
  }

  uint32_t read_octal() {
    uint32_t code = 0;
    --at_;
    for (int i = 0; i < 3 && at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '7'; ++i)
      code = code * 8 + static_cast<uint32_t>(text_[at_++] - '0');
    return code;
  }

  void append_code(uint32_t code, size_t begin, std::string* value) {
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      source_.fail(begin, fmt::format("expected the number of a character, got {:#x}", code));
    append_character(code, value);
  }

  const Source& source_;
  std::string_view text_;
  size_t at_ = 0;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

void Source::fail(size_t offset, const std::string& words) const {
  const std::string_view before = std::string_view(text).substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t column = num_characters(before.substr(before.rfind('\n') + 1)) + 1;
  throw InputError(fmt::format("[{}, line {}, column {}] {}", name, line, column, words));
}

Source make_source(std::string name, std::string_view text) {
  Source source{std::move(name), ""};
  if (find_invalid_utf8(text) != std::string_view::npos)
    throw InputError(fmt::format("[{}] expected a template in UTF-8, got bytes that are none", source.name));
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    source.text += text[i] == '\r' ? '\n' : text[i];
  }
  if (source.text.ends_with('\n')) source.text.pop_back();
  return source;
}

std::vector<Token> tokenize(const Source& source) {
  return Lexer(source).run();
}

}  // namespace longlora::jinja
