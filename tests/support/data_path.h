// Where the test data lies.
#pragma once

#include <filesystem>
#include <string>

namespace longlora::test {

/// A file or folder below tests/data.
inline std::filesystem::path data_path(const std::string& name) {
  return std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests" / "data" / name;
}

}  // namespace longlora::test
