// How fast this machine reads its memory.
#pragma once

#include <cstdint>

namespace longlora {

/// Measures how many bytes a second `threads` threads read together, each from memory of its own that no
/// cache holds: the best of several passes. It takes about a quarter of a second and 256 MiB a thread, or
/// less where there is less memory.
double measure_read_bandwidth(int64_t threads);

}  // namespace longlora
