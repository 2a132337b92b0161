// Samples of made words.
#pragma once

#include <cstdint>
#include <string>

#include "longlora/core/random.h"
#include "longlora/inspect/fingerprint.h"

namespace longlora::inspect {

/// `count` words out of 5,000, by the seed.
inline std::string made_text(uint64_t seed, int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text.append("w").append(std::to_string(mix_bits(seed, static_cast<uint64_t>(i)) % 5000)).append(" ");
  return text;
}

inline Sample text_sample(const std::string& text) {
  Sample sample;
  sample.text = text;
  return sample;
}

inline Sample question_sample(const std::string& question, const std::string& answer) {
  Sample sample;
  sample.turns = {{tokenizer::Role::kUser, question}, {tokenizer::Role::kAssistant, answer}};
  return sample;
}

inline Fingerprint fingerprint_of(const Sample& sample) {
  WordCounts words;
  ScriptCounts scripts;
  return make_fingerprint(sample, &words, &scripts);
}

}  // namespace longlora::inspect
