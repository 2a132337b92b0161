#include "longlora/ops/device.h"

#include <fmt/format.h>

#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/ops/attention_backend.h"
#include "longlora/tensors/device.h"

namespace longlora::ops {

at::Device open_device(const DeviceFlags& flags) {
  const AttentionBackend backend = attention_backend_from_name(flags.attention_backend);
  const tensors::OpenedDevice opened = tensors::open_device(flags.device);
  if (!opened.gpu) {
    log_info("device: cpu");
    if (!opened.passed_over.empty()) log_warning(fmt::format("a GPU is not used: {}", opened.passed_over));
    return opened.device;
  }
  const tensors::Gpu& gpu = *opened.gpu;
  set_attention_backend(backend, gpu);
  const tensors::GpuMemory memory = tensors::gpu_memory();
  log_info(fmt::format("device: cuda:{} ({}, compute capability {}.{}, {} of {} free)", gpu.index, gpu.name,
                       gpu.major, gpu.minor, format_bytes(memory.free_bytes),
                       format_bytes(memory.total_bytes)));
  return opened.device;
}

}  // namespace longlora::ops
