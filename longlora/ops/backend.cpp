#include "longlora/ops/backend.h"

#include <atomic>

namespace longlora::ops {
namespace {

std::atomic<int> without_kernels = 0;

}  // namespace

const Backend& backend_for(at::Device device, at::ScalarType dtype) {
  const bool is_for_kernels =
      device.is_meta() || (device.is_cpu() && without_kernels.load(std::memory_order_relaxed) == 0);
  const bool has_kernels = is_for_kernels && (dtype == at::kFloat || dtype == at::kBFloat16);
  return has_kernels ? cpu_backend() : composed_backend();
}

LibtorchOperatorsOnly::LibtorchOperatorsOnly() {
  ++without_kernels;
}

LibtorchOperatorsOnly::~LibtorchOperatorsOnly() {
  --without_kernels;
}

}  // namespace longlora::ops
