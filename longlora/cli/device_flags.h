// The flags that say on which device a verb computes.
#pragma once

#include <CLI/App.hpp>

#include "longlora/ops/device.h"

namespace longlora::cli {

/// Declares --device.
void add_device_flag(CLI::App& verb, ops::DeviceFlags& flags);
/// Declares --device and --attention_backend.
void add_device_flags(CLI::App& verb, ops::DeviceFlags& flags);

}  // namespace longlora::cli
