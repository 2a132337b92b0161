// How the next token is drawn.
#pragma once

#include <cstdint>

#include "longlora/generate/generator.h"

namespace longlora::generate {

/// Temperature and nucleus sampling (Holtzman et al. 2020).
struct SamplingOptions {
  double temperature = 0.6;  // logits are divided by it; 0: always the likeliest token
  double top_p = 0.9;        // only the likeliest tokens that together reach this probability, in (0, 1]
  uint64_t seed = 0;         // the same seed draws the same tokens from the same logits
};

/// Draws from softmax(logits / temperature) restricted to the nucleus: tokens from the likeliest down until
/// their probabilities reach top_p, the one that reaches it included (as transformers' TopPLogitsWarper). Of
/// equals the smaller id comes first. Throws UsageError for options outside their range, and the function
/// that it returns throws Error for logits that are not finite.
PickToken make_sampler(const SamplingOptions& options);

}  // namespace longlora::generate
