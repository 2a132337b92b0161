#include "longlora/tokenizer/regex_syntax.h"

#include <fmt/core.h>

#include <array>

#include "longlora/core/error.h"

namespace longlora::tokenizer {

namespace {

// What stands for \w, \s and \h inside a set.
struct Shorthand {
  char letter;
  const char* members;
};
constexpr std::array kShorthands = {
    Shorthand{'w', R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xB2\xB3\xB9\xBC-\xBE)"},
    Shorthand{'s',
              R"(\t-\r\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})"},
    Shorthand{'h', "0-9a-fA-F"},
};

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& source) : pattern_(pattern), source_(source) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_set_) {
        set_character(c);
      } else if (c == '[') {
        open_set();
      } else if (starts_with("(?")) {
        group();
      } else if (starts_with("{,")) {
        result_ += "{0,";
        at_ += 2;
      } else {
        copy(1);
      }
    }
    return result_;
  }

 private:
  bool starts_with(const char* text) const {
    return pattern_.compare(at_, std::char_traits<char>::length(text), text) == 0;
  }

  void copy(size_t count) {
    result_.append(pattern_, at_, count);
    at_ += count;
  }

  void escape() {
    const char letter = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    for (const Shorthand& shorthand : kShorthands) {
      const bool is_negated = letter == shorthand.letter - 'a' + 'A';
      if (letter != shorthand.letter && !is_negated) continue;
      if (!in_set_)
        result_.append(is_negated ? "[^" : "[").append(shorthand.members).append("]");
      else if (!is_negated)
        result_ += shorthand.members;
      else if (letter == 'H')
        throw unsupported("\\H in a set");
      else
        break;  // a set cannot hold the opposite of a set: PCRE2's own \W and \S come nearest
      at_ += 2;
      return;
    }
    copy(2);
  }

  void open_set() {
    in_set_ = true;
    copy(starts_with("[^") ? 2 : 1);
    if (at_ < pattern_.size() && pattern_[at_] == ']')
      copy(1);  // a bracket that comes first is a member of the set
  }

  void set_character(char c) {
    if (starts_with("[:")) {
      const size_t end = pattern_.find(":]", at_ + 2);
      if (end != std::string::npos) return copy(end + 2 - at_);
    }
    if (c == '[') throw unsupported("a set inside a set");
    if (starts_with("&&")) throw unsupported("an intersection of sets");
    in_set_ = c != ']';
    copy(1);
  }

  // Translates (?imx-imx) and (?imx-imx: …), in which m lets the dot match newlines.
  void group() {
    const size_t end = pattern_.find_first_not_of("imx-", at_ + 2);
    const bool has_flags =
        end != std::string::npos && end > at_ + 2 && (pattern_[end] == ':' || pattern_[end] == ')');
    if (!has_flags) return copy(2);
    for (; at_ < end; ++at_) result_ += pattern_[at_] == 'm' ? 's' : pattern_[at_];
  }

  InputError unsupported(const char* what) const {
    return InputError(
        fmt::format("[{}] expected a regular expression without {}, got \"{}\"; it is not supported", source_,
                    what, pattern_));
  }

  const std::string& pattern_;
  const std::string& source_;
  std::string result_;
  size_t at_ = 0;
  bool in_set_ = false;
};

}  // namespace

std::string translate_regex(const std::string& pattern, const std::string& source) {
  return Translator(pattern, source).run();
}

}  // namespace longlora::tokenizer
