// Changes text before it is cut into words: Unicode normal forms and replacements.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

/// Rewrites text in place. Immutable; safe to use from several threads.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Requires valid UTF-8.
  virtual void apply(std::string* text) const = 0;
};

/// `source` names the file in errors. Normal forms are those of Unicode 9, as in Hugging Face's tokenizers:
/// characters that were assigned later stay as they are.
std::unique_ptr<Normalizer> make_normalizer(const NormalizerStep& step, const std::string& source);

}  // namespace longlora::tokenizer
