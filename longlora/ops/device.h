// Where and how a verb computes, as the command line says it.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace longlora::ops {

struct DeviceFlags {
  std::string device = "auto";             // auto, cpu, cuda or cuda:N
  std::string attention_backend = "auto";  // auto, flash, cudnn or math; of a GPU
};

/// Opens the device (tensors/device.h), sets up the attention kernels of a GPU, and logs one line that names
/// the device. Call it before the first operation of libtorch. Throws UsageError for flags and ResourceError
/// for a GPU that cannot be used.
at::Device open_device(const DeviceFlags& flags);

}  // namespace longlora::ops
