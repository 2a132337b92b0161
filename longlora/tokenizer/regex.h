// Regular expressions of tokenizer files: PCRE2 with Unicode rules, compiled to machine code.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace longlora::tokenizer {

/// One compiled expression, written as Hugging Face's tokenizers read it
/// (Oniguruma's syntax). Immutable; safe to use from several threads.
/// \p{…} classes are those of PCRE2's own Unicode version.
class Regex {
 public:
  /// Throws InputError naming `source`, the expression and where it is wrong.
  Regex(const std::string& pattern, const std::string& source);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// Calls `visit(begin, end)` for each match in `text` (valid UTF-8) from left to
  /// right; none overlap, and an empty one may stand between two others.
  /// Throws InputError when the expression takes too many steps.
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
  std::string pattern_;
  std::string source_;
};

}  // namespace longlora::tokenizer
