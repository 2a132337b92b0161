// Generation of ids: a prompt goes in, and picked tokens follow until a rule ends them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "longlora/generate/decode_session.h"
#include "longlora/generate/generator.h"

namespace longlora::generate {

/// When to stop.
struct StopRules {
  /// Ids that end the text, the model's end-of-sequence id above all. Not part of the result.
  std::vector<int64_t> stop_ids = {};
  int64_t max_new_tokens = 512;
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
