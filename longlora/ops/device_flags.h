// Where and how a verb computes, as the command line says it.
#pragma once

#include <string>

namespace longlora::ops {

struct DeviceFlags {
  std::string device = "auto";             // auto, cpu, cuda or cuda:N
  std::string attention_backend = "auto";  // auto, flash, cudnn or math; of a GPU
};

}  // namespace longlora::ops
