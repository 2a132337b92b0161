// How memory.h reads /proc and /sys, in a header of its own so that tests can give it other roots.
#pragma once

#include <cstdint>
#include <filesystem>

namespace longlora::internal {

/// available_memory_bytes() of a machine whose files lie under `root` ("/" for this one).
int64_t available_memory_bytes(const std::filesystem::path& root);

}  // namespace longlora::internal
