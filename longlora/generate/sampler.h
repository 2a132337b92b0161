// How the next token is drawn.
#pragma once

#include <cstdint>
#include <span>

#include "longlora/generate/generate.h"

namespace longlora::generate {

/// The settings of sampling, with transformers' meaning: temperature, nucleus sampling (Holtzman et al.
/// 2020), and what generation_config.json may have beside them.
struct SamplingOptions {
  double temperature = 0.6;  // logits are divided by it; 0: always the likeliest token
  double top_p = 0.9;        // only the likeliest tokens that together reach this probability, in (0, 1]
  int64_t top_k = 0;         // only this many of the likeliest tokens; 0: all
  double min_p = 0.0;        // only tokens of at least this share of the likeliest one's probability
  double repetition_penalty = 1.0;  // divides the logits of ids that came before; multiplies those below 0
  uint64_t seed = 0;                // the same seed draws the same tokens from the same logits
};

/// Draws from softmax(logits / temperature) restricted, in this order, to the top_k likeliest tokens (and
/// those equal to the last of them), to the nucleus of what is left (tokens from the likeliest down until
/// their probabilities reach top_p, including the one that reaches it), and to min_p. Of equal tokens the one
/// with the smaller id comes first. repetition_penalty counts the ids of `prompt` and those that the returned
/// function has given. Throws UsageError for options outside their range. The returned function throws Error
/// for logits that are not finite.
PickToken make_sampler(const SamplingOptions& options, std::span<const int64_t> prompt = {});

}  // namespace longlora::generate
