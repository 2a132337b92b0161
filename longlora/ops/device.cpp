#include "longlora/ops/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>

#include "longlora/core/device.h"
#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/ops/attention_backend.h"

namespace longlora::ops {
namespace {

using c10::CachingAllocator::StatType;

constexpr auto kAllPools = static_cast<size_t>(StatType::AGGREGATE);

c10::CachingDeviceAllocator::DeviceStats allocator_stats(at::Device device) {
  return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
}

/// Makes the context of the GPU and computes something on it: what fails fails here, by name.
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

at::Device open_device(const DeviceFlags& flags) {
  const AttentionBackend backend = attention_backend_from_name(flags.attention_backend);
  const DeviceRequest request = parse_device(flags.device);
  const at::Device device(at::kCUDA, 0);
  ChosenDevice chosen = choose_device(request);
  try {
    if (chosen.gpu) start(*chosen.gpu, device);
  } catch (const ResourceError& error) {
    if (request.kind != DeviceKind::kAuto) throw;
    chosen = {std::nullopt, error.what()};
  }
  if (!chosen.gpu) {
    log_info("device: cpu");
    if (!chosen.passed_over.empty()) log_warning(fmt::format("a GPU is not used: {}", chosen.passed_over));
    return at::kCPU;
  }
  const Gpu& gpu = *chosen.gpu;
  set_attention_backend(backend, gpu);
  const GpuMemory memory = gpu_memory();
  log_info(fmt::format("device: cuda:{} ({}, compute capability {}.{}, {} of {} free)", gpu.index, gpu.name,
                       gpu.major, gpu.minor, format_bytes(memory.free_bytes),
                       format_bytes(memory.total_bytes)));
  return device;
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

std::string describe_out_of_memory(const std::string& message) {
  // "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.05
  // GiB is free. …": the sentences up to what is free, on one line.
  const size_t begin = message.find("Tried to allocate");
  const size_t is_free = begin == std::string::npos ? begin : message.find(" is free", begin);
  std::string facts = is_free == std::string::npos ? message.substr(0, message.find('\n'))
                                                   : message.substr(begin, is_free + 8 - begin);
  for (char& c : facts)
    if (c == '\n') c = ' ';
  return fmt::format(
      "[GPU memory] expected room for the next tensor, got: {}; use shorter rows (--model_max_length), fewer "
      "at "
      "a time (--per_device_train_batch_size, --batch_size), --gradient_checkpointing true, a smaller model, "
      "or "
      "--device cpu; other programs on this GPU take memory too",
      facts);
}

}  // namespace longlora::ops
