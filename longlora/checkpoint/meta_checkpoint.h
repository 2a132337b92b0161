// Meta's own layout of Llama models (consolidated.*.pth and params.json), shown as a Hugging Face model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "longlora/checkpoint/meta_params.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/json.h"

namespace longlora::checkpoint {

/// A read-only model in Meta's layout under Hugging Face's names. A tensor is put together from its parts
/// when it is loaded, because model-parallel files hold slices. The rows of query and key are then moved from
/// the interleaved rotary layout (pairs 2i, 2i+1) to halves (i, i + D/2). Every file holds the norms, and
/// where there are more files than key/value heads, several files in a row hold copies of one head. Copies
/// that differ are refused when they are loaded.
class MetaCheckpoint {
 public:
  /// Whether a directory is in this layout: consolidated.00.pth is there and none of Hugging Face's files.
  static bool is_in(const std::filesystem::path& directory);

  /// Opens consolidated.00.pth, .01.pth … and params.json of a directory. Throws InputError for missing files
  /// or tensors, and for shapes that contradict params.json.
  static MetaCheckpoint open(const std::filesystem::path& directory);
  /// Does the same with files of any name.
  static MetaCheckpoint open(const std::vector<std::filesystem::path>& files,
                             const std::filesystem::path& params);

  const TensorStore& weights() const { return weights_; }

  /// The config.json that transformers would read. The window is max_seq_len where that is stated, and
  /// otherwise the one that the published models of these settings have (2048, 4096, 8192, 16384 or 131072).
  Json config() const;

 private:
  int64_t window() const;

  MetaParams params_;
  int64_t intermediate_size_ = 0;
  TensorStore weights_;
};

}  // namespace longlora::checkpoint
