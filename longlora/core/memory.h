// What memory the process uses and may use.
#pragma once

#include <cstdint>

namespace longlora {

/// Highest resident set size of this process so far.
int64_t peak_rss_bytes();
/// Present resident set size.
int64_t current_rss_bytes();
/// Memory the process may still take: the smaller of what the machine has
/// available and what its control group (v1 or v2) leaves.
int64_t available_memory_bytes();

}  // namespace longlora
