// Decoding with a key/value cache: prefill in chunks, then one token at a time.
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

/// Tokens of a prompt that go through the model at once: more need more memory, fewer are slower.
constexpr int64_t kPrefillChunkTokens = 4096;

/// Throws InputError naming the first id outside the decoder's vocabulary and its place, or an empty list.
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

  /// Appends `ids` to the sequence and returns the logits [V], float32, of what
  /// follows the last. Throws InputError for ids beyond the vocabulary and for
  /// more tokens than the cache takes; the sequence is unchanged then. Throws InputError too for logits that
  /// are not finite: no token can be picked from them.
  at::Tensor feed(std::span<const int64_t> ids);

  /// Hears how many tokens of the ids in hand have gone through the model, after every chunk of a feed.
  void on_progress(std::function<void(int64_t done)> hear) { hear_ = std::move(hear); }

  KeyValueCache& cache() { return *cache_; }
  const KeyValueCache& cache() const { return *cache_; }
  const model::Decoder& decoder() const { return ready_.decoder; }
  /// Starts a new sequence.
  void reset();

 private:
  /// The last layer's hidden state [1, C] of the last token of `ids`, which go through chunk by chunk. Under
  /// dynamic scaling, and mostly under LongRoPE, keys keep the angles of the sequence as it was when they
  /// came.
  at::Tensor last_hidden(std::span<const int64_t> ids);
  /// Hidden states of the last `wanted_tokens` of a chunk.
  at::Tensor forward_chunk(std::span<const int64_t> ids, int64_t sequence_tokens, int64_t wanted_tokens);
  void check_finite(const at::Tensor& logits) const;
  /// Whether `count` more tokens take the sequence beyond the original window of
  /// LongRoPE: the factors change, and the keys before have to be made again.
  bool leaves_short_factors(int64_t count) const;

  forward::ReadyDecoder ready_;
  std::unique_ptr<KeyValueCache> cache_;
  int64_t prefill_chunk_tokens_;
  bool remakes_keys_ = false;
  std::function<void(int64_t)> hear_;
  std::vector<int64_t> ids_;  // of the sequence, where keys may have to be made again
};

/// When to stop.
struct StopRules {
  /// Ids that end the text, the model's end-of-sequence id above all. Not part of the result.
  std::vector<int64_t> stop_ids = {};
  int64_t max_new_tokens = 512;
};

enum class StopReason {
  kStopId,       // one of the stop ids came
  kStopText,     // a text that ends came (generate_text)
  kMaxTokens,    // max_new_tokens were generated
  kContextFull,  // the cache takes no more
  kCaller,       // on_token said so
};

/// Whether the model itself ended its text.
constexpr bool was_ended(StopReason reason) {
  return reason == StopReason::kStopId || reason == StopReason::kStopText;
}

struct Generation {
  std::vector<int64_t> ids;
  StopReason reason = StopReason::kMaxTokens;
};

/// Picks the next id from logits [V] float32.
using PickToken = std::function<int64_t(const at::Tensor& logits)>;
/// The likeliest id; the smallest of those that are equal.
int64_t pick_greedy(const at::Tensor& logits);

/// Appends `prompt` to the session's sequence and goes on from it. `on_token`,
/// where given, hears of every id as it comes and returns false to stop early
/// (reason kCaller). Throws as DecodeSession::feed does.
Generation generate(DecodeSession& session, std::span<const int64_t> prompt, const StopRules& rules,
                    const PickToken& pick = pick_greedy, const std::function<bool(int64_t)>& on_token = {});

}  // namespace longlora::generate
