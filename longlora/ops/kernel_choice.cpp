#include "longlora/ops/kernel_choice.h"

#include <atomic>

namespace longlora::ops {
namespace {

std::atomic<int> without_kernels = 0;

}  // namespace

bool uses_cpu_kernels() {
  return without_kernels.load(std::memory_order_relaxed) == 0;
}

LibtorchOperatorsOnly::LibtorchOperatorsOnly() {
  ++without_kernels;
}

LibtorchOperatorsOnly::~LibtorchOperatorsOnly() {
  --without_kernels;
}

}  // namespace longlora::ops
