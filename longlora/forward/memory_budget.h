// How much memory a run may take.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace longlora::forward {

/// Returns how many bytes to plan for on `device`, those that the process holds already included. It is what
/// the user asked for, but no more than is free: on a GPU its free memory, on the CPU what the machine and
/// the control group leave. Where `asked_bytes` is 0 it is 80 % of what is free. Warns where less is free
/// than was asked for.
int64_t memory_budget(int64_t asked_bytes, at::Device device = at::kCPU);

}  // namespace longlora::forward
