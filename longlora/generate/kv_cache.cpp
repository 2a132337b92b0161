#include "longlora/generate/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"

namespace longlora::generate {
namespace {

constexpr int64_t kFirstCapacityTokens = 256;

}  // namespace

FullCache::FullCache(const model::ModelConfig& config, int64_t max_tokens, at::TensorOptions dtype_and_device)
    : num_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      max_tokens_(max_tokens),
      options_(dtype_and_device.requires_grad(false)),
      layers_(static_cast<size_t>(config.num_hidden_layers)) {
  if (max_tokens < 1)
    throw Error(fmt::format("[key/value cache] expected room for at least one token, got {}", max_tokens));
}

void FullCache::reserve(int64_t num_tokens) {
  if (std::min(num_tokens, max_tokens_) <= capacity_) return;
  grow(std::min(max_tokens_, std::max({num_tokens, 2 * capacity_, kFirstCapacityTokens})));
}

void FullCache::grow(int64_t capacity) {
  const auto grown = [&](const at::Tensor& old) {
    at::Tensor fresh = at::empty({num_heads_, capacity, head_dim_}, options_);
    if (num_tokens_ > 0) fresh.slice(1, 0, num_tokens_).copy_(old.slice(1, 0, num_tokens_));
    return fresh;
  };
  for (KeyValueView& layer : layers_) {
    layer.keys = grown(layer.keys);
    layer.values = grown(layer.values);
  }
  capacity_ = capacity;
}

int64_t FullCache::extend(int64_t count) {
  if (count < 1) throw Error(fmt::format("[key/value cache] expected at least one new token, got {}", count));
  if (count > max_tokens_ - num_tokens_)
    throw InputError(
        fmt::format("[context] expected at most {} tokens, got {}; shorten the text or raise the "
                    "context size",
                    max_tokens_, num_tokens_ + count));
  const int64_t needed = num_tokens_ + count;
  reserve(needed);
  const int64_t first = num_tokens_;
  num_tokens_ = needed;
  num_new_ = count;
  return first;
}

void FullCache::store(size_t layer, const at::Tensor& keys, const at::Tensor& values) {
  if (keys.size(0) != num_new_ || keys.size(1) != num_heads_ || keys.size(2) != head_dim_ ||
      keys.sizes() != values.sizes())
    throw Error(fmt::format("[key/value cache] expected keys and values {} × {} × {}, got {} × {} × {}",
                            num_new_, num_heads_, head_dim_, keys.size(0), keys.size(1), keys.size(2)));
  const KeyValueView& stored = layers_.at(layer);
  const int64_t first = num_tokens_ - num_new_;
  stored.keys.slice(1, first, num_tokens_).copy_(keys.transpose(0, 1));
  stored.values.slice(1, first, num_tokens_).copy_(values.transpose(0, 1));
}

KeyValueView FullCache::view(size_t layer) const {
  const KeyValueView& stored = layers_.at(layer);
  return {stored.keys.slice(1, 0, num_tokens_), stored.values.slice(1, 0, num_tokens_)};
}

void FullCache::clear() {
  num_tokens_ = 0;
  num_new_ = 0;
}

int64_t FullCache::allocated_bytes() const {
  int64_t bytes = 0;
  for (const KeyValueView& layer : layers_)
    if (layer.keys.defined()) bytes += static_cast<int64_t>(layer.keys.nbytes() + layer.values.nbytes());
  return bytes;
}

}  // namespace longlora::generate
