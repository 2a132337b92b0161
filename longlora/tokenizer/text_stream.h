// The text of ids that come one after the other.
#pragma once

#include <cstdint>
#include <string>

#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// Gives the text of a growing sequence piece by piece, each character as soon as all its bytes are there (as
/// Hugging Face's DecodeStream does). All pieces together are decode(all ids). The time of a push does not
/// grow with the sequence.
class TextStream {
 public:
  /// `tokenizer` has to live as long as the stream.
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// The text that `id` adds. It is often empty: for special tokens, for a character whose bytes are not all
  /// there, and for ids that a model has rows for and the tokenizer no text.
  std::string push(int64_t id);
  /// The rest of the text, in which a character that was never finished is U+FFFD. The stream is empty then.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  Ids ids_;              // what decoding still depends on: the ids of the last piece and those waiting
  std::string printed_;  // the text of the first num_printed_ ids of them
  size_t num_printed_ = 0;
};

}  // namespace longlora::tokenizer
