// Command lines of tests.
#pragma once

#include <string>
#include <vector>

namespace longlora::test {

using Words = std::vector<std::string>;

/// `words` and then `more`.
inline Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A file or folder below tests/data.
inline std::string data(const std::string& name) {
  return std::string(LONGLORA_SOURCE_DIR) + "/tests/data/" + name;
}

}  // namespace longlora::test
