#include "longlora/cli/device_flags.h"

#include <CLI/CLI.hpp>

namespace longlora::cli {

void add_device_flag(CLI::App& verb, ops::DeviceFlags& flags) {
  verb.add_option("--device", flags.device,
                  "Where to compute: cpu, cuda (the first GPU), cuda:N, or auto: a GPU where one can be used")
      ->type_name("auto|cpu|cuda|cuda:N")
      ->capture_default_str();
}

void add_device_flags(CLI::App& verb, ops::DeviceFlags& flags) {
  add_device_flag(verb, flags);
  verb.add_option(
          "--attention_backend", flags.attention_backend,
          "Attention kernels of a GPU: flash, cudnn (after a self-test), math (neither), or auto: flash "
          "where it takes the model")
      ->check(CLI::IsMember({"auto", "flash", "cudnn", "math"}))
      ->capture_default_str();
}

}  // namespace longlora::cli
