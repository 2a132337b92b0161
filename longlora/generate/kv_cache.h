// Keeps the keys and values of the tokens that generation has seen.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "longlora/model/config.h"

namespace longlora::generate {

/// The keys and values of one layer as attention reads them, oldest first; each is [K, S, D].
struct KeyValueView {
  at::Tensor keys;
  at::Tensor values;
};

/// The keys and values of one sequence in every layer. A token's keys are stored rotated by the angles of its
/// place in the cache; a cache that drops tokens, and so moves others to new places, has to rotate the keys
/// of those again. A pass over n new tokens calls extend(n), which returns their places, and then store() and
/// view() for every layer. Not thread-safe.
class KeyValueCache {
 public:
  virtual ~KeyValueCache() = default;

  /// How many tokens the cache holds, all of which a new token would see.
  virtual int64_t num_tokens() const = 0;
  /// Every place is smaller than this, so rotary tables have to reach so far.
  virtual int64_t max_tokens() const = 0;
  /// The largest count that extend() accepts at present. It is never 0 for a cache that drops old tokens.
  virtual int64_t remaining_tokens() const = 0;
  /// Hints that `num_tokens` in all are on their way, so that memory is allocated once instead of growing.
  virtual void reserve(int64_t num_tokens) = 0;
  /// Makes room for `count` tokens in every layer and returns the place (rotary
  /// position) of the first; the others follow it. Throws InputError where they do not fit.
  virtual int64_t extend(int64_t count) = 0;
  /// Stores the keys, rotated to their places, and the values of the tokens of the last extend() in `layer`;
  /// both are [count, K, D].
  virtual void store(size_t layer, const at::Tensor& keys, const at::Tensor& values) = 0;
  /// The keys and values of all tokens in the cache, the new ones at the end: what the last new token may
  /// see. Valid until the next extend().
  virtual KeyValueView view(size_t layer) const = 0;
  /// Forgets all tokens. The memory is kept for the next sequence.
  virtual void clear() = 0;
};

/// Keeps everything up to `max_tokens`. Its storage grows by doubling, one layer after the other.
class FullCache : public KeyValueCache {
 public:
  /// `dtype_and_device` are those of the decoder. Nothing is allocated yet.
  FullCache(const model::ModelConfig& config, int64_t max_tokens, at::TensorOptions dtype_and_device);

  int64_t num_tokens() const override { return num_tokens_; }
  int64_t max_tokens() const override { return max_tokens_; }
  int64_t remaining_tokens() const override { return max_tokens_ - num_tokens_; }
  void reserve(int64_t num_tokens) override;
  int64_t extend(int64_t count) override;
  void store(size_t layer, const at::Tensor& keys, const at::Tensor& values) override;
  KeyValueView view(size_t layer) const override;
  void clear() override;

  /// The bytes that are allocated at present.
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
