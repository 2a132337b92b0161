// The device of tensors: opened once at the start of a verb, asked about its memory.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>

#include "longlora/ops/device_flags.h"

namespace longlora::ops {

/// The device that the flags ask for, ready to compute, with one line on the terminal that names it. The GPU
/// that was chosen is the only one that the process sees, so it is at::Device(kCUDA, 0). Call it before the
/// first operation of libtorch. Throws UsageError for flags and ResourceError for a GPU that cannot be used.
at::Device open_device(const DeviceFlags& flags);

/// Memory that `device` has free for this process; what libtorch keeps for reuse counts as free.
int64_t free_memory_bytes(at::Device device);

/// The most that this process has held at once: of a GPU what its tensors' allocator had reserved, of the CPU
/// the resident set.
int64_t peak_memory_bytes(at::Device device);

/// What to tell the user of a GPU's c10::OutOfMemoryError with this message: what was asked for, what was
/// free, what to change.
std::string describe_out_of_memory(const std::string& message);

}  // namespace longlora::ops
