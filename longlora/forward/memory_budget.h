// How much memory a run may take.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace longlora::forward {

/// Bytes to plan for on `device`, those that the process holds already included: what the user asked for, but
/// no more than is free (of a GPU what it has free, of the CPU what the machine and the control group leave);
/// 80 % of that where `asked_bytes` is 0. Warns where less is free than was asked for.
int64_t memory_budget(int64_t asked_bytes, at::Device device = at::kCPU);

}  // namespace longlora::forward
