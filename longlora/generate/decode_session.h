// Decodes with a key/value cache: first the prompt in chunks, then one token at a time.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "longlora/forward/ready_decoder.h"
#include "longlora/generate/kv_cache.h"
#include "longlora/model/decoder.h"

namespace longlora::generate {

/// How many tokens of a prompt go through the model at once: more need more memory, and fewer are slower.
constexpr int64_t kPrefillChunkTokens = 4096;

/// Throws InputError for an empty list, and for the first id outside the decoder's vocabulary, naming its
/// place.
void check_ids(const model::Decoder& decoder, std::span<const int64_t> ids);

/// One sequence on its way through a decoder. Not thread-safe.
class DecodeSession {
 public:
  /// A session over `cache`.
  DecodeSession(const forward::ReadyDecoder& ready, std::unique_ptr<KeyValueCache> cache,
                int64_t prefill_chunk_tokens = kPrefillChunkTokens);
  /// A session over a FullCache of `max_tokens`; 0: the decoder's context window.
  explicit DecodeSession(const forward::ReadyDecoder& ready, int64_t max_tokens = 0,
                         int64_t prefill_chunk_tokens = kPrefillChunkTokens);

  /// Appends `ids` to the sequence and returns the logits [V], float32, of what follows the last one. Throws
  /// InputError for ids beyond the vocabulary and for more tokens than the cache takes; the sequence is
  /// unchanged then. Throws InputError, too, for logits that are not finite, because no token can be picked
  /// from them.
  at::Tensor feed(std::span<const int64_t> ids);

  /// `hear` is told how many tokens of the ids in hand have gone through the model, after every chunk of a
  /// feed.
  void on_progress(std::function<void(int64_t done)> hear) { hear_ = std::move(hear); }

  KeyValueCache& cache() { return *cache_; }
  const KeyValueCache& cache() const { return *cache_; }
  const model::Decoder& decoder() const { return ready_.decoder; }
  /// Starts a new sequence.
  void reset();

 private:
  /// The last layer's hidden state [1, C] of the last token of `ids`, which go through the model chunk by
  /// chunk. Under dynamic scaling, and mostly under LongRoPE, keys keep the angles that the sequence had when
  /// they came.
  at::Tensor last_hidden(std::span<const int64_t> ids);
  /// The hidden states of the last `wanted_tokens` of a chunk.
  at::Tensor forward_chunk(std::span<const int64_t> ids, int64_t sequence_tokens, int64_t wanted_tokens);
  void check_finite(const at::Tensor& logits) const;
  /// Whether `count` more tokens take the sequence beyond the original window of LongRoPE. The factors change
  /// there, and the keys before have to be made again.
  bool leaves_short_factors(int64_t count) const;

  forward::ReadyDecoder ready_;
  std::unique_ptr<KeyValueCache> cache_;
  int64_t prefill_chunk_tokens_;
  bool remakes_keys_ = false;
  std::function<void(int64_t)> hear_;
  std::vector<int64_t> ids_;  // the sequence, kept where keys may have to be made again
};

}  // namespace longlora::generate
