// The way from tokens back to text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longlora/tokenizer/pipeline_spec.h"
#include "longlora/tokenizer/text_pattern.h"

namespace longlora::tokenizer {

/// The decoder steps of a tokenizer file. What a step does to each token alone is done once for each entry of
/// the vocabulary (prepare), and the rest in each call (join). Immutable; safe to use from several threads.
class DecoderChain {
 public:
  /// `source` names the file in the InputError for a wrong expression.
  DecoderChain(const PipelineSpec& spec, const std::string& source);

  /// The part of `token` in a text, in the form that join() takes.
  std::string prepare(const std::string& token) const;
  /// The bytes of a prepared token by itself: what join() makes of it, without stripping and repairing.
  std::string bytes_of(const std::string& prepared) const;
  /// The text that prepared tokens make together.
  std::string join(const std::vector<std::string_view>& tokens) const;

 private:
  std::vector<DecoderStep> steps_;
  std::vector<TextPattern>
      patterns_;             // those of the leading Replace steps, then those of the others, in order
  size_t num_prepared_ = 0;  // how many leading steps prepare() does
  bool has_decoder_ = false;
};

}  // namespace longlora::tokenizer
