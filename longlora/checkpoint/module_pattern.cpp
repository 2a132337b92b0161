#include "longlora/checkpoint/module_pattern.h"

#include <cctype>

namespace longlora::checkpoint {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
}
bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

/// Whether all of `name` matches the pattern without its anchors.
bool matches_whole(std::string_view pattern, std::string_view name) {
  size_t at = 0;
  for (size_t i = 0; i < pattern.size(); ++i, ++at) {
    if (at == name.size()) return false;
    if (pattern[i] == '.') continue;
    const bool is_escape = pattern[i] == '\\';
    if (is_escape) ++i;
    const bool matches = is_escape && pattern[i] == 'd' ? is_digit(name[at]) : pattern[i] == name[at];
    if (!matches) return false;
  }
  return at == name.size();
}

}  // namespace

bool is_known_pattern(std::string_view pattern) {
  if (pattern.starts_with('^')) pattern.remove_prefix(1);
  if (pattern.ends_with('$')) pattern.remove_suffix(1);
  if (pattern.empty()) return false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (is_word(pattern[i]) || pattern[i] == '.') continue;
    if (pattern[i] != '\\' || i + 1 == pattern.size()) return false;
    ++i;
    // Other letters after a backslash are classes and anchors of their own.
    if (pattern[i] != 'd' && std::isalnum(static_cast<unsigned char>(pattern[i])) != 0) return false;
  }
  return true;
}

bool matches_module(std::string_view pattern, std::string_view module) {
  const bool from_start = pattern.starts_with('^');
  if (from_start) pattern.remove_prefix(1);
  if (pattern.ends_with('$')) pattern.remove_suffix(1);
  if (matches_whole(pattern, module)) return true;
  for (size_t dot = 0; !from_start && (dot = module.find('.', dot)) != std::string_view::npos; ++dot)
    if (matches_whole(pattern, module.substr(dot + 1))) return true;
  return false;
}

}  // namespace longlora::checkpoint
