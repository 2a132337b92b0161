// What a GGUF file says about a model of a configuration.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "longlora/checkpoint/gguf_architecture.h"
#include "longlora/gguf/gguf_writer.h"
#include "longlora/model/config.h"

namespace longlora::model {

/// Sizes and rotary settings as llama.cpp reads them.
struct GgufSettings {
  const checkpoint::GgufArchitecture* architecture;
  gguf::MetadataWriter values;
  /// Rotary factors, which stand in tensors of float32, by their names there.
  std::vector<std::pair<std::string, std::vector<float>>> factors;
};

/// The settings of a model that `source` names in errors. The window of the file (context_length) is the one
/// after scaling, and rope.scaling.original_context_length the one before it. Throws InputError for what
/// llama.cpp would compute otherwise or not read: dynamic scaling, YaRN without rounding, factors or biases
/// that the architecture has no place for, another activation, layers of which some have a sliding window.
GgufSettings gguf_settings(const ModelConfig& config, const std::string& source);

}  // namespace longlora::model
