// Opens the device that the command line names.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace longlora::ops {

struct DeviceFlags {
  std::string device = "auto";             // auto, cpu, cuda or cuda:N
  std::string attention_backend = "auto";  // for a GPU: auto, flash, cudnn or math
};

/// Opens the device (tensors/device.h), chooses the attention kernels of a GPU, and logs one line that names
/// the device. It has to be called before the first operation of libtorch. Throws UsageError for a name that
/// it does not know, and ResourceError for a GPU that cannot be used.
at::Device open_device(const DeviceFlags& flags);

}  // namespace longlora::ops
