// Sequences in pages for the tests of decoding steps, and a plain pass to compare them with.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "longlora/forward/forward.h"
#include "longlora/generate/step_decoder.h"

namespace longlora::generate {

/// A sequence whose keys and values lie in pages of its own.
class StepSequence {
 public:
  explicit StepSequence(const model::Decoder& decoder)
      : shape_{static_cast<int64_t>(decoder.blocks.size()), decoder.config.num_key_value_heads,
               decoder.config.head_dim},
        format_(decoder.dtype() == at::kBFloat16 ? ops::PageFormat::kBFloat16 : ops::PageFormat::kFloat) {}

  /// Makes room for the next token, and returns its row.
  StepRow add(int64_t id) {
    if (num_tokens_ % ops::kPageTokens == 0) {
      pages_.emplace_back(static_cast<std::byte*>(
          ::operator new(static_cast<size_t>(shape_.num_bytes(format_)), std::align_val_t(64))));
      views_.push_back({format_, pages_.back().get()});
    }
    return {.id = id, .pages = views_, .num_tokens = ++num_tokens_};
  }
  /// Drops the pages [first, last).
  void drop(size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      pages_[i].reset();
      views_[i].data = nullptr;
    }
  }
  int64_t num_tokens() const { return num_tokens_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete(data, std::align_val_t(64)); }
  };
  ops::PageShape shape_;
  ops::PageFormat format_;
  int64_t num_tokens_ = 0;
  std::vector<std::unique_ptr<std::byte, Free>> pages_;
  std::vector<ops::PageView> views_;
};

/// The attention of one token after another over tensors that grow.
class PlainCache : public forward::Attend {
 public:
  at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                    ops::KeptAttention* /*kept*/) override {
    if (keys_.size() <= layer) {
      keys_.push_back(qkv.k);
      values_.push_back(qkv.v);
    } else {
      keys_[layer] = at::cat({keys_[layer], qkv.k});
      values_[layer] = at::cat({values_[layer], qkv.v});
    }
    const ops::AttentionPlan plan =
        ops::make_segment_plan({.row_tokens = keys_[layer].size(0), .window_tokens = window_tokens});
    return ops::attention(qkv.q, keys_[layer], values_[layer], ops::last_tokens(plan, qkv.q.size(0)));
  }

 private:
  std::vector<at::Tensor> keys_, values_;
};

/// The logits after each of `ids`, which go through forward::forward() one by one: [N, V].
inline at::Tensor plain_steps(const model::Decoder& decoder, const std::vector<int64_t>& ids) {
  PlainCache cache;
  forward::RotaryTables rotary(decoder);
  std::vector<at::Tensor> logits;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto place = static_cast<int64_t>(i);
    const forward::Rows rows = {at::full({1}, ids[i], at::kLong), rotary.range(place, 1, place + 1)};
    const at::Tensor hidden = forward::forward(decoder, rows, cache, *forward::resident());
    logits.push_back(forward::logits(decoder, hidden, *forward::resident()));
  }
  return at::cat(logits);
}

/// As plain_steps, by a StepDecoder.
inline at::Tensor steps(const model::Decoder& decoder, const std::vector<int64_t>& ids) {
  StepDecoder step(decoder);
  StepSequence sequence(decoder);
  std::vector<at::Tensor> logits;
  for (const int64_t id : ids) logits.push_back(step.run(std::vector{sequence.add(id)}).clone());
  return at::cat(logits);
}

}  // namespace longlora::generate
