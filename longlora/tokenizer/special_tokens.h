// Tokens that are found in text as they are written, before it is cut into pieces.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/tokenizer/text_range.h"

namespace longlora::tokenizer {

/// One added token, with the fields of Hugging Face's AddedToken.
struct SpecialToken {
  std::string content;
  int32_t id = -1;
  bool special = true;       // decode() skips it
  bool lstrip = false;       // it takes the whitespace before it
  bool rstrip = false;       // it takes the whitespace after it
  bool single_word = false;  // it is found only where no letter touches it
  bool named = false;        // it is BOS, EOS, unknown, padding or an additional special token
};

/// Finds special tokens in text: the leftmost, and of several that begin there the longest. Immutable after
/// construction. Time is linear in the text.
class SpecialTokenFinder {
 public:
  SpecialTokenFinder() = default;
  /// Contents must not be empty.
  explicit SpecialTokenFinder(std::vector<SpecialToken> tokens);

  struct Match {
    size_t begin;  // where the part of the text that the token takes begins, stripped whitespace included
    size_t end;
    const SpecialToken* token;  // lives as long as the finder
  };
  /// The first match at or after `from`. `from` is the end of the previous match or 0. A special token is not
  /// found where one of its bytes lies in one of the ranges `plain`.
  std::optional<Match> find(std::string_view text, size_t from, std::span<const TextRange> plain = {}) const;

  const std::vector<SpecialToken>& tokens() const { return tokens_; }

 private:
  std::vector<SpecialToken> tokens_;                     // longest first
  std::array<std::vector<int32_t>, 256> by_first_byte_;  // indices into tokens_
};

}  // namespace longlora::tokenizer
