// The device of tensors: opened once at the start of a verb, asked about its memory.
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
  std::optional<Gpu> gpu = {};  // of a device that is one
  /// Why a GPU that is there is left unused although `auto` was asked for; else empty.
  std::string passed_over = {};
};

/// The device that "auto", "cpu", "cuda" or "cuda:N" asks for. The GPU that was chosen is the only one that
/// the process sees, so it is at::Device(kCUDA, 0). Call it before the first operation of libtorch. Throws
/// UsageError for another text and ResourceError for a GPU that cannot be used.
OpenedDevice open_device(const std::string& text);

/// Memory that `device` has free for this process; what libtorch keeps for reuse counts as free.
int64_t free_memory_bytes(at::Device device);

/// The most that this process has held at once: of a GPU what its tensors' allocator had reserved, of the CPU
/// the resident set.
int64_t peak_memory_bytes(at::Device device);

}  // namespace longlora::tensors
