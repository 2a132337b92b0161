// A model in GGUF (llama.cpp's files), seen as a Hugging Face model.
#pragma once

#include <filesystem>
#include <optional>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/json.h"
#include "longlora/gguf/gguf_model.h"

namespace longlora::checkpoint {

/// A read-only model in GGUF under Hugging Face's names. Tensors are dequantised when they are loaded; rows
/// that llama.cpp orders otherwise are put in order (rotary rows of a Llama, fused projections of GPT-NeoX).
class GgufCheckpoint {
 public:
  /// The file, or the folder with one (gguf::find_model). Throws InputError as GgufModel::open; an
  /// architecture that is not read; tensors that do not belong to it or contradict its settings.
  static GgufCheckpoint open(const std::filesystem::path& path);

  const TensorStore& weights() const { return weights_; }
  const gguf::Metadata& metadata() const { return model_.metadata(); }

  /// config.json as transformers reads it.
  const Json& config() const { return config_; }
  /// generation_config.json.
  Json generation_config() const;
  /// What weights are best kept in: bfloat16 where matrices are quantised, else what the widest is in.
  at::ScalarType dtype() const { return dtype_; }

 private:
  explicit GgufCheckpoint(gguf::GgufModel model) : model_(std::move(model)) {}

  gguf::GgufModel model_;
  TensorStore weights_;
  at::ScalarType dtype_ = at::kFloat;
  Json config_;
};

}  // namespace longlora::checkpoint
