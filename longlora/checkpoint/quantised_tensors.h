// Recognises quantised checkpoints by the names of their tensors.
#pragma once

#include <map>
#include <string>

namespace longlora::checkpoint {

struct TensorInfo;

/// The method by which the weights are quantised ("GPTQ"), as far as names of tensors show it and the form is
/// one that is not read. Empty where nothing shows it.
std::string quantised_kind(const std::map<std::string, TensorInfo>& tensors);

}  // namespace longlora::checkpoint
