// How the next token is drawn.
#pragma once

#include <cstdint>
#include <span>

#include "longlora/generate/generate.h"
#include "longlora/generate/sampling_options.h"

namespace longlora::generate {

/// Returns what picks a request's tokens; its state is the request's own. logit_bias, repetition_penalty,
/// presence and frequency penalty change the logits, and of temperature 0 the likeliest token is taken. Else
/// a token is drawn from softmax(logits / temperature) restricted to the top_k likeliest tokens (and those
/// equal to the last of them), to the nucleus of what is left (tokens from the likeliest down until their
/// probabilities reach top_p, including the one that reaches it), and to min_p. Under
/// SamplingOrder::kLlamaCpp the restrictions come before the temperature, and top_k keeps no equal ones. Of
/// equal tokens the one with the smaller id comes first. `prompt` counts for repetition_penalty. Throws
/// UsageError for options outside their range. The returned function throws Error for logits that are not
/// finite.
PickToken make_sampler(const SamplingOptions& options, std::span<const int64_t> prompt = {});

}  // namespace longlora::generate
