// Chooses the processor that computes, from what the user asks for and what the machine has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace longlora::tensors {

enum class DeviceKind { kAuto, kCpu, kCuda };

/// What --device asks for.
struct DeviceRequest {
  DeviceKind kind = DeviceKind::kAuto;
  int index = 0;  // of the GPU, as CUDA counts those that this process may see
};

/// Reads "auto", "cpu", "cuda" (the first GPU) or "cuda:1". Throws UsageError for anything else.
DeviceRequest parse_device(const std::string& text);

/// A GPU, as its driver describes it.
struct Gpu {
  int index = 0;  // its number as it was asked for
  std::string name;
  int64_t total_bytes = 0;
  int major = 0, minor = 0;  // its compute capability
};

/// What became of a request.
struct ChosenDevice {
  std::optional<Gpu> gpu;   // nullopt: the CPU
  std::string passed_over;  // why `auto` leaves a GPU that is there unused; else empty
};

/// Finds the GPU, hides all others from this process, and loads libtorch's CUDA library, with expandable
/// memory segments unless the user has set up the allocator otherwise. Call it once, before the first
/// operation of libtorch. With `auto` the CPU is chosen where any of this fails. Throws ResourceError where a
/// GPU was asked for by name and there is no driver, or one that is too old, no such GPU, or a GPU or a
/// libtorch without CUDA 13.
ChosenDevice choose_device(const DeviceRequest& request);

/// The memory of the GPU in use, as its driver counts it.
struct GpuMemory {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};
/// Call it after choose_device() and the first operation on the GPU. Throws ResourceError where there is no
/// GPU.
GpuMemory gpu_memory();

}  // namespace longlora::tensors
