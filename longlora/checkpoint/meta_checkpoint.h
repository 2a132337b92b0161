// Meta's own layout of Llama models (consolidated.*.pth and params.json), seen as a Hugging Face model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "longlora/checkpoint/meta_params.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/json.h"

namespace longlora::checkpoint {

/// A read-only model in Meta's layout under Hugging Face's names. A tensor is
/// put together from its parts (model-parallel files hold slices) when it is
/// loaded, and query and key rows are moved from the interleaved rotary layout
/// (pairs 2i, 2i+1) to halves (i, i + D/2). Every file holds the norms, and where
/// there are more files than key/value heads, runs of files hold copies of one
/// head; copies that differ are refused when they are loaded.
class MetaCheckpoint {
 public:
  /// Whether a directory is in this layout: consolidated.00.pth is there and none of Hugging Face's files.
  static bool is_in(const std::filesystem::path& directory);

  /// consolidated.00.pth, .01.pth … and params.json of a directory. Throws
  /// InputError: missing files or tensors, shapes that contradict params.json.
  static MetaCheckpoint open(const std::filesystem::path& directory);
  /// As above, from files of any name.
  static MetaCheckpoint open(const std::vector<std::filesystem::path>& files,
                             const std::filesystem::path& params);

  const TensorStore& weights() const { return weights_; }

  /// config.json as transformers reads it. The window is max_seq_len where stated, else what the published
  /// models of these settings have (2048, 4096, 8192, 16384 or 131072).
  Json config() const;

 private:
  int64_t window() const;

  MetaParams params_;
  int64_t intermediate_size_ = 0;
  TensorStore weights_;
};

}  // namespace longlora::checkpoint
