// The device of tensors. It is opened once at the start of a verb, and asked about its memory.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <string>

#include "longlora/tensors/gpu.h"

namespace longlora::tensors {

/// A device that is ready to compute.
struct OpenedDevice {
  at::Device device = at::kCPU;
  std::optional<Gpu> gpu = {};  // what is known of it, where it is a GPU
  /// Says why a GPU that is there is not used although `auto` was asked for. Empty in any other case.
  std::string passed_over = {};
};

/// The device that "auto", "cpu", "cuda" or "cuda:N" asks for. The GPU that was chosen is the only one that
/// the process sees, so it is at::Device(kCUDA, 0). Call it before the first operation of libtorch. Throws
/// UsageError for another text and ResourceError for a GPU that cannot be used.
OpenedDevice open_device(const std::string& text);

/// The memory that `device` has free for this process. What libtorch keeps for reuse counts as free.
int64_t free_memory_bytes(at::Device device);

/// The most memory that this process has held at once: on a GPU what the allocator of tensors had reserved,
/// on the CPU the resident set.
int64_t peak_memory_bytes(at::Device device);

}  // namespace longlora::tensors
