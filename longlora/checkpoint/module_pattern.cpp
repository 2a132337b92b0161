#include "longlora/checkpoint/module_pattern.h"

#include <fmt/core.h>

#include "longlora/core/error.h"
#include "longlora/core/regex.h"

namespace longlora::checkpoint {
namespace {

constexpr size_t kLongestPattern = 1 << 14;
constexpr uint32_t kMatchLimit = 100'000;

// The pattern for PCRE2, in which Python's {,n} is written {0,n}.
std::string translated(const std::string& pattern) {
  std::string result;
  for (size_t i = 0; i < pattern.size(); ++i) {
    result += pattern[i];
    if (pattern[i] == '\\' && i + 1 < pattern.size())
      result += pattern[++i];
    else if (pattern[i] == '{' && pattern.compare(i, 2, "{,") == 0)
      result += '0';
  }
  return result;
}

Regex compile(const std::string& pattern, const std::string& source) {
  if (pattern.size() > kLongestPattern)
    throw InputError(fmt::format("[{}] expected a pattern of at most {} bytes, got one of {}", source,
                                 kLongestPattern, pattern.size()));
  return {translated(pattern), source, {.match_limit = kMatchLimit}};
}

}  // namespace

void check_module_pattern(const std::string& pattern, const std::string& source) {
  compile(pattern, source);
}

bool matches_module(const std::string& pattern, const std::string& module) {
  return compile("(.*\\.)?(" + pattern + ")$", "adapter_config.json").matches_start(module);
}

bool matches_target(const std::string& pattern, const std::string& module) {
  return pattern == "all-linear" ||
         compile("(?:" + pattern + ")\\z", "adapter_config.json").matches_start(module);
}

}  // namespace longlora::checkpoint
