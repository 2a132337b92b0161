#include "longlora/tensors/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/core/memory.h"

namespace longlora::tensors {
namespace {

using c10::CachingAllocator::StatType;

constexpr auto kAllPools = static_cast<size_t>(StatType::AGGREGATE);

c10::CachingDeviceAllocator::DeviceStats allocator_stats(at::Device device) {
  return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
}

// Makes the context of the GPU and computes something on it, so that whatever fails there fails here, with
// its name.
void start(const Gpu& gpu, at::Device device) {
  try {
    at::globalContext().lazyInitDevice(device.type());
    at::ones({1}, at::TensorOptions(device)).add_(1.0).item<float>();
  } catch (const c10::Error& error) {
    throw ResourceError(fmt::format("[--device] expected to compute on {}, got: {}; use --device cpu",
                                    gpu.name, error.what_without_backtrace()));
  }
}

}  // namespace

OpenedDevice open_device(const std::string& text) {
  const DeviceRequest request = parse_device(text);
  const ChosenDevice chosen = choose_device(request);
  if (!chosen.gpu) return {.passed_over = chosen.passed_over};
  const at::Device device(at::kCUDA, 0);
  try {
    start(*chosen.gpu, device);
  } catch (const ResourceError& error) {
    if (request.kind != DeviceKind::kAuto) throw;
    return {.passed_over = error.what()};
  }
  return {device, chosen.gpu};
}

int64_t free_memory_bytes(at::Device device) {
  if (device.is_cpu()) return available_memory_bytes();
  const auto stats = allocator_stats(device);
  return gpu_memory().free_bytes + stats.reserved_bytes[kAllPools].current -
         stats.allocated_bytes[kAllPools].current;
}

int64_t peak_memory_bytes(at::Device device) {
  return device.is_cpu() ? peak_rss_bytes() : allocator_stats(device).reserved_bytes[kAllPools].peak;
}

}  // namespace longlora::tensors
