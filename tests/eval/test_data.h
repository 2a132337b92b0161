// Files of tests/data.
#pragma once

#include <filesystem>
#include <string>

namespace longlora {

inline std::filesystem::path test_data(const std::string& name) {
  return std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests/data" / name;
}

}  // namespace longlora
