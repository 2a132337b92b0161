// What kinds of quantised checkpoints are called.
#pragma once

#include <string>

#include "longlora/core/json.h"

namespace longlora::model {

/// The one kind that is read.
inline constexpr const char* kNf4 = "bitsandbytes (NF4)";

/// The kind that quantization_config of config.json, an object, says: "GPTQ in 4 bits", kNf4 …
std::string quantization_kind(const Json& settings);

}  // namespace longlora::model
