// Quantised checkpoints, told by the names of their tensors.
#pragma once

#include <map>
#include <string>

namespace longlora::checkpoint {

struct TensorInfo;

/// What tensors show of how the weights are quantised in a form that is not read: "GPTQ"; empty where nothing
/// shows it.
std::string quantised_kind(const std::map<std::string, TensorInfo>& tensors);

}  // namespace longlora::checkpoint
