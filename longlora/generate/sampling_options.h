// The settings of sampling.
#pragma once

#include <cstdint>
#include <map>

namespace longlora::generate {

/// In which order logits are changed and tokens left out.
enum class SamplingOrder {
  kTransformers,  // penalties, temperature, top_k, top_p, min_p
  kLlamaCpp,      // penalties, top_k, top_p, min_p, temperature
};

/// The settings of sampling, with transformers' meaning: temperature, nucleus sampling (Holtzman et al.
/// 2020), and what generation_config.json may have beside them.
struct SamplingOptions {
  double temperature = 0.6;  // logits are divided by it; 0: always the likeliest token
  double top_p = 0.9;        // only the likeliest tokens that together reach this probability, in (0, 1]
  int64_t top_k = 0;         // only this many of the likeliest tokens; 0: all
  double min_p = 0.0;        // only tokens of at least this share of the likeliest one's probability
  double repetition_penalty = 1.0;  // divides the logits of ids that came before; multiplies those below 0
  /// Which ids count as having come before: the last so many of prompt and text; 0: all of them.
  int64_t repeat_last_n = 0;
  bool penalize_prompt = true;                // whether the prompt's ids count for repetition_penalty, too
  double presence_penalty = 0.0;              // is subtracted from the logits of ids that the text has
  double frequency_penalty = 0.0;             // is subtracted as often as the text has the id
  std::map<int64_t, double> logit_bias = {};  // is added to the logits of these ids
  SamplingOrder order = SamplingOrder::kTransformers;
  uint64_t seed = 0;  // the same seed draws the same tokens from the same logits
};

}  // namespace longlora::generate
