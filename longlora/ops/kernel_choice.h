// Whether ops run on the CPU kernels of this program or on libtorch's operators alone.
#pragma once

namespace longlora::ops {

/// True unless a LibtorchOperatorsOnly lives.
bool uses_cpu_kernels();

/// As long as one lives every op of this process takes the path that it takes on a GPU, whatever the device:
/// how that path is run and compared where there is no GPU. Not to be made while ops run.
class LibtorchOperatorsOnly {
 public:
  LibtorchOperatorsOnly();
  ~LibtorchOperatorsOnly();
  LibtorchOperatorsOnly(const LibtorchOperatorsOnly&) = delete;
  LibtorchOperatorsOnly& operator=(const LibtorchOperatorsOnly&) = delete;
};

}  // namespace longlora::ops
