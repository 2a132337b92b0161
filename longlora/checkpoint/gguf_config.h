// config.json of a model in GGUF.
#pragma once

#include "longlora/checkpoint/gguf_architecture.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/json.h"
#include "longlora/gguf/metadata.h"

namespace longlora::checkpoint {

/// Throws InputError for numbers that are missing or do not fit each other.
GgufHeads read_gguf_heads(const gguf::Metadata& metadata, const GgufArchitecture& architecture);

/// The architecture of the file. Throws InputError for one that is not read, an adapter, experts, and
/// settings that change what is computed and are not known here.
const GgufArchitecture& read_gguf_architecture(const gguf::Metadata& metadata);

/// config.json as transformers reads it; `stored` has the tensors under the names of the file, and `dtype` is
/// that of the weights. Rotary factors of Llama 3.1, which stand in a tensor, become a scaling `llama3` where
/// they are its factors, else `longrope` with the same factor for every length. Throws InputError that names
/// file and key.
Json gguf_config(const gguf::Metadata& metadata, const GgufArchitecture& architecture,
                 const TensorStore& stored, at::ScalarType dtype);

/// generation_config.json: the ids that begin and end a text.
Json gguf_generation_config(const gguf::Metadata& metadata);

}  // namespace longlora::checkpoint
