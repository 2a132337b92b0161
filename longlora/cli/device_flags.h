// The flags that say where a verb computes.
#pragma once

#include <CLI/App.hpp>

#include "longlora/ops/device.h"

namespace longlora::cli {

/// --device.
void add_device_flag(CLI::App& verb, ops::DeviceFlags& flags);
/// --device and --attention_backend.
void add_device_flags(CLI::App& verb, ops::DeviceFlags& flags);

}  // namespace longlora::cli
