// Weights as tensors of a GGUF file: their order of rows, their types, and the writing of them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/checkpoint/gguf_architecture.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/gguf/gguf_writer.h"

namespace longlora::checkpoint {

/// A tensor of a GGUF file and where it comes from.
struct GgufWeight {
  gguf::TensorLayout layout;
  /// Of the tensor under its own name, in float32, in the order of Hugging Face.
  TensorSpec spec;
  /// Where set, the rows go back from their order to that of the file.
  std::optional<RowSwap> swap = {};
};

/// "bf16": the names of the types that are written.
const std::vector<std::string>& gguf_type_names();
/// The type of such a name; nothing for another.
std::optional<gguf::BlockType> gguf_type(const std::string& name);

/// The type of a weight where `asked` is that of the matrices: float32 for lists of numbers, as llama.cpp
/// wants them; F16 where its rows are no whole blocks; Q8_0 for the head (`is_head`, the embedding where it
/// is the head, too) where matrices are in four bits, because it suffers from them the most.
gguf::BlockType gguf_weight_type(gguf::BlockType asked, const std::vector<int64_t>& shape, bool is_head);

/// Writes a file atomically; `source` makes the tensor of each spec, one at a time. Throws InputError for
/// numbers that are not finite or that the type does not hold, as write_gguf_file, and what `source` throws.
void write_gguf_weights(const std::filesystem::path& path, const gguf::MetadataWriter& metadata,
                        const std::vector<GgufWeight>& weights, const TensorSource& source);

}  // namespace longlora::checkpoint
