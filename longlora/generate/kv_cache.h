// Where generation keeps the keys and values of the tokens it has seen.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "longlora/model/config.h"

namespace longlora::generate {

/// Keys and values of one layer as attention reads them, oldest first: [K, S, D] each.
struct KeyValueView {
  at::Tensor keys;
  at::Tensor values;
};

/// The keys and values of one sequence in every layer. Keys are stored rotated to
/// the token's place in the cache, so a cache that drops tokens turns the keys
/// that move. One step of the model is: extend(n), which names the places of the
/// n new tokens, then for every layer store() and view(). Not thread-safe.
class KeyValueCache {
 public:
  virtual ~KeyValueCache() = default;

  /// Tokens that a new one would see at present.
  virtual int64_t num_tokens() const = 0;
  /// Every place is smaller than this: rotary tables have to reach so far.
  virtual int64_t max_tokens() const = 0;
  /// How many more extend() takes at present; a cache that drops old tokens always takes some.
  virtual int64_t remaining_tokens() const = 0;
  /// A hint that `num_tokens` in all are on their way; allocates once instead of growing.
  virtual void reserve(int64_t num_tokens) = 0;
  /// Makes room for `count` tokens in every layer and returns the place (rotary
  /// position) of the first; the others follow it. Throws InputError where they do not fit.
  virtual int64_t extend(int64_t count) = 0;
  /// Puts the keys, rotated to their places, and values [count, K, D] of the last extend() in `layer`.
  virtual void store(size_t layer, const at::Tensor& keys, const at::Tensor& values) = 0;
  /// All that the last of the new tokens may see; the new ones are the last. Valid until the next extend().
  virtual KeyValueView view(size_t layer) const = 0;
  /// Forgets all tokens; memory is kept for the next sequence.
  virtual void clear() = 0;
};

/// Keeps everything up to `max_tokens`. Storage grows by doubling, one layer after the other.
class FullCache : public KeyValueCache {
 public:
  /// `dtype_and_device`: of the decoder. Nothing is allocated yet.
  FullCache(const model::ModelConfig& config, int64_t max_tokens, at::TensorOptions dtype_and_device);

  int64_t num_tokens() const override { return num_tokens_; }
  int64_t max_tokens() const override { return max_tokens_; }
  int64_t remaining_tokens() const override { return max_tokens_ - num_tokens_; }
  void reserve(int64_t num_tokens) override;
  int64_t extend(int64_t count) override;
  void store(size_t layer, const at::Tensor& keys, const at::Tensor& values) override;
  KeyValueView view(size_t layer) const override;
  void clear() override;

  /// Bytes allocated at present.
  int64_t allocated_bytes() const;

 private:
  void grow(int64_t capacity);

  int64_t num_heads_;
  int64_t head_dim_;
  int64_t max_tokens_;
  at::TensorOptions options_;
  std::vector<KeyValueView> layers_;  // [K, capacity, D]
  int64_t capacity_ = 0;
  int64_t num_tokens_ = 0;
  int64_t num_new_ = 0;
};

}  // namespace longlora::generate
