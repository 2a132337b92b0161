// Regular expressions from files of others: PCRE2 with Unicode rules and limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace longlora {

struct RegexOptions {
  bool multiline = false;     // ^ and $ stand for the ends of every line
  bool machine_code = false;  // compile to machine code, which takes time and pays for long texts
  uint32_t match_limit = 0;   // steps that one match may take; 0: PCRE2's own limit of ten million
};

/// One compiled expression in PCRE2's syntax. Immutable; safe to use from several threads.
/// \p{…} classes are those of PCRE2's own Unicode version.
class Regex {
 public:
  /// Throws InputError naming `source`, the expression and where it is wrong.
  Regex(const std::string& pattern, const std::string& source, const RegexOptions& options = {});
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// Calls `visit(begin, end)` for each match in `text` (valid UTF-8) from left to
  /// right; none overlap, and an empty one may stand between two others.
  /// Throws InputError when the expression takes too many steps.
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const;

  /// Whether a match begins where `text` (any bytes) begins. Text that is not UTF-8 has no match. Throws
  /// InputError as for_each_match() does.
  bool matches_start(std::string_view text) const;

 private:
  struct Compiled;
  [[noreturn]] void fail(int error) const;

  std::unique_ptr<Compiled> compiled_;
  std::string pattern_;
  std::string source_;
};

}  // namespace longlora
