// Conversations as ids, with what is to be learned of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/data/conversation.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::data {

/// Tokens [begin, end) of a sample.
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

/// One sample.
struct InstructionTokens {
  std::vector<int32_t> ids;
  std::vector<TokenRange> answers;  // tokens to learn: ascending, disjoint, EOS included
  TokenRange material;              // the longest text of the user: what may be shortened
  int64_t index = 0;                // in its file
  bool is_certain = true;           // answers were found by comparing bytes (see tokenize_conversation)

  /// Tokens to learn that have a token before them.
  int64_t num_targets() const;
};

/// Tokenizes a conversation in a form: each piece as one text, its answers found
/// by the bytes that its tokens stand for, so that a token which reaches from the
/// question into the answer counts as the answer's. BOS where the tokenizer puts
/// one. Where the tokenizer changes the text and tokens cannot be laid against
/// it, an answer begins where the ids of the text before it and of the whole
/// begin to differ, and is_certain is false. Requires an EOS token.
InstructionTokens tokenize_conversation(const tokenizer::Tokenizer& tokenizer, tokenizer::PromptForm form,
                                        const Conversation& conversation);

/// What becomes of a sample that is longer than a row.
enum class Truncation {
  kDrop,    // it is left out
  kLeft,    // its beginning goes (BOS stays)
  kRight,   // its end goes
  kMiddle,  // the middle of the material goes; left out when that is not enough
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
  kWithoutTarget,  // must be left out: nothing to learn remains
};

/// Shortens a sample to at most `max_tokens`, which must be positive.
Fit truncate(InstructionTokens* sample, int64_t max_tokens, Truncation truncation,
             const tokenizer::Tokenizer& tokenizer);

}  // namespace longlora::data
