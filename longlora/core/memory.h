// How much memory the process uses, and how much it may use.
#pragma once

#include <cstdint>

namespace longlora {

/// The largest resident set that this process has had so far.
int64_t peak_rss_bytes();
/// The resident set that this process has now.
int64_t current_rss_bytes();
/// The memory that the process may still take: the smaller of what the machine has available and what the
/// process's control groups (v1 or v2) leave.
int64_t available_memory_bytes();

}  // namespace longlora
