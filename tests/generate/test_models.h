// Models for the tests of generation.
#pragma once

#include <c10/core/GradMode.h>

#include <numeric>
#include <string>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/model/load.h"
#include "tests/support/data_path.h"
#include "tests/support/plain_forward.h"

namespace longlora {

/// A random decoder with `heads` query heads over `kv_heads`, window 64.
inline model::Decoder small_decoder(int64_t heads, int64_t kv_heads, at::ScalarType dtype = at::kFloat) {
  model::ModelConfig config;
  config.vocab_size = 61;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.3;  // far from uniform, so that a wrong place shows
  return model::random_decoder(config, dtype, 11);
}

/// `count` ids that walk through the vocabulary of small_decoder.
inline std::vector<int64_t> walk(int64_t count) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back((7 * i * i + 3 * i + 1) % 61);
  return ids;
}

/// Logits [N, V] of all places, without a cache.
inline at::Tensor full_forward(const model::Decoder& decoder, const std::vector<int64_t>& ids) {
  const c10::NoGradGuard no_grad;
  const at::Tensor row = at::tensor(ids, at::TensorOptions(at::kLong)).unsqueeze(0);
  return at::linear(test::hidden_states(decoder, row), decoder.head().value.dense()).to(at::kFloat);
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace longlora
