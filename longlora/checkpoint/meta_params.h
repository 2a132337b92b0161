// params.json, which lies beside a model in Meta's own layout.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace longlora::checkpoint {

/// params.json, with its own names. A size that it leaves out or states as -1 is taken from the tensors.
struct MetaParams {
  int64_t dim = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t vocab_size = -1;
  int64_t multiple_of = 0;          // 0: not stated
  double ffn_dim_multiplier = 1.0;  // a factor of the feed-forward width
  double norm_eps = 1e-5;
  double rope_theta = 10000.0;
  bool use_scaled_rope = false;  // Llama 3.1 and later have it; it means rope_scaling "llama3"
  double rope_scale_factor = 8.0;
  int64_t max_seq_len = 0;  // 0: not stated

  /// The feed-forward width: multiple_of · ceil(int(ffn_dim_multiplier · int(8 dim / 3)) / multiple_of), or 0
  /// when multiple_of is not stated.
  int64_t feed_forward_size() const;
};

/// The text of params.json; throws InputError that names the file and the setting.
MetaParams parse_meta_params(const std::string& text, const std::filesystem::path& source);

}  // namespace longlora::checkpoint
