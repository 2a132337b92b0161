// The libraries of the machine that gpu.cpp loads, apart so that tests can give it others.
#pragma once

#include <string>

#include "longlora/tensors/gpu.h"

namespace longlora::tensors::internal {

/// The libraries of the GPU, as names or paths that dlopen() takes.
struct DeviceLibraries {
  std::string driver = "libcuda.so.1";
  std::string torch = "libtorch_cuda.so";
};

ChosenDevice choose_device(const DeviceRequest& request, const DeviceLibraries& libraries);

/// The value of CUDA_VISIBLE_DEVICES that leaves only GPU `index` of those that `present` lists (empty: all
/// of the machine). Returns nullopt where the list is shorter.
std::optional<std::string> only_visible_gpu(const std::optional<std::string>& present, int index);

}  // namespace longlora::tensors::internal
