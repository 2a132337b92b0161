// Names of the kinds of quantised checkpoints.
#pragma once

#include <string>

#include "longlora/core/json.h"

namespace longlora::model {

/// The only kind that this program reads.
inline constexpr const char* kNf4 = "bitsandbytes (NF4)";

/// Names the kind that the object quantization_config of config.json says: "GPTQ in 4 bits", kNf4 …
std::string quantization_kind(const Json& settings);

}  // namespace longlora::model
