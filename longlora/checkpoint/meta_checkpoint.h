// Meta's own layout of Llama models (consolidated.*.pth and params.json), seen as a Hugging Face model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/json.h"

namespace longlora::checkpoint {

/// params.json, names as in the file. Sizes that it leaves out or states as -1 are taken from the tensors.
struct MetaParams {
  int64_t dim = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t vocab_size = -1;
  int64_t multiple_of = 0;          // 0: not stated
  double ffn_dim_multiplier = 1.0;  // of the feed-forward width
  double norm_eps = 1e-5;
  double rope_theta = 10000.0;
  bool use_scaled_rope = false;  // Llama 3.1 and later: rope_scaling "llama3"
  double rope_scale_factor = 8.0;
  int64_t max_seq_len = 0;  // 0: not stated

  /// multiple_of · ceil(int(ffn_dim_multiplier · int(8 dim / 3)) / multiple_of); 0 when multiple_of is not
  /// stated.
  int64_t feed_forward_size() const;
};

/// Throws InputError that names the file and the setting.
MetaParams read_meta_params(const std::filesystem::path& path);

/// A read-only model in Meta's layout under Hugging Face's names. A tensor is
/// put together from its parts (model-parallel files hold slices) when it is
/// loaded, and query and key rows are moved from the interleaved rotary layout
/// (pairs 2i, 2i+1) to halves (i, i + D/2). Where there are more files than
/// key/value heads, runs of files hold copies of one head; copies that differ
/// are refused when they are loaded.
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
