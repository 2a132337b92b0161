// Conversations as ids, with what is to be learned of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/data/conversation.h"
#include "longlora/tokenizer/prompt.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::data {

/// The tokens [begin, end) of a sample.
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

/// One sample as ids.
struct InstructionTokens {
  std::vector<int32_t> ids;
  std::vector<TokenRange> answers;  // the tokens to learn: ascending, disjoint, EOS included
  TokenRange material;              // the longest text of the user, which may be shortened
  int64_t index = 0;                // the number of the sample in its file
  bool is_certain = true;  // whether the answers were found by comparing bytes (see tokenize_conversation)

  /// The number of tokens to learn that have a token before them.
  int64_t num_targets() const;
};

/// Tokenizes a conversation in a form, each piece of it as one text. Answers are found by the bytes that
/// tokens stand for, so that a token which reaches from the question into the answer counts as the answer's.
/// BOS stands where the tokenizer puts it. Where the tokenizer changes the text, tokens cannot be laid
/// against it: then an answer begins where the ids of the text before it and the ids of the whole text begin
/// to differ, and is_certain is false. Requires an EOS token. Throws InputError for what a chat template
/// refuses.
InstructionTokens tokenize_conversation(const tokenizer::Tokenizer& tokenizer,
                                        const tokenizer::Prompt& prompt, const Conversation& conversation);

/// What is done with a sample that is longer than a row.
enum class Truncation {
  kDrop,    // it is left out
  kLeft,    // its beginning is cut off (BOS stays)
  kRight,   // its end is cut off
  kMiddle,  // the middle of the material is cut out; where that is not enough, the sample is left out
};

/// "drop", "left", "right", "middle".
const std::vector<std::string>& truncation_names();
const char* truncation_name(Truncation truncation);
/// Throws UsageError for a name that is none of them.
Truncation truncation_from_name(const std::string& name);

/// What truncate() did.
enum class Fit {
  kWhole,
  kCut,
  kTooLong,        // must be left out
  kWithoutTarget,  // must be left out, because nothing to learn remains
};

/// Shortens a sample to at most `max_tokens`, which must be positive.
Fit truncate(InstructionTokens* sample, int64_t max_tokens, Truncation truncation,
             const tokenizer::Tokenizer& tokenizer);

}  // namespace longlora::data
