// The device room's view of the machine's libraries, apart so that tests can give it others.
#pragma once

#include <string>

#include "longlora/tensors/gpu.h"

namespace longlora::tensors::internal {

/// Names or paths, as dlopen() takes them.
struct DeviceLibraries {
  std::string driver = "libcuda.so.1";
  std::string torch = "libtorch_cuda.so";
};

ChosenDevice choose_device(const DeviceRequest& request, const DeviceLibraries& libraries);

/// The value of CUDA_VISIBLE_DEVICES that leaves only GPU `index` of those that `present` lists (empty: all
/// of the machine); nothing where the list is shorter.
std::optional<std::string> only_visible_gpu(const std::optional<std::string>& present, int index);

}  // namespace longlora::tensors::internal
