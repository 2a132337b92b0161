// Models as GGUF files, which llama.cpp and what is built on it run.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/gguf/block_types.h"

namespace longlora::model {

/// A Hugging Face model whose weights need not be there yet.
struct GgufSource {
  /// config.json, the tokenizer with its chat template, and generation_config.json where there is one.
  std::filesystem::path folder = {};
  /// What there is of weights, under Hugging Face's names.
  std::vector<checkpoint::TensorSpec> specs = {};
  /// Makes the tensor of a spec in the dtype that the spec asks for: float32 here.
  checkpoint::TensorSource tensors = {};
};

/// Writes the model as one file, atomically, a tensor at a time. `type` is that of the matrices
/// (checkpoint::gguf_weight_type has the rule); nothing: as the embedding is stored. A folder without
/// tokenizer gives a file without one, with a warning. Throws InputError for what the file could not say
/// (gguf_settings, tokenizer::add_gguf_tokenizer), for weights that are missing or belong to nothing, and as
/// checkpoint::write_gguf_weights. Returns the type of the matrices.
gguf::BlockType write_gguf(const std::filesystem::path& file, const GgufSource& source,
                           std::optional<gguf::BlockType> type);

}  // namespace longlora::model
