// Decoding as text, which is shown piece by piece and may end at a text as well as at an id.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/generate/generate.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::generate {

/// What ends an answer. Neither an id nor a text of these is part of it.
struct TextEnds {
  std::vector<int64_t> ids = {};
  /// The texts of ends that the tokenizer spells in several tokens.
  std::vector<std::string> texts = {};
};

/// What was written. Where the text ended at one of TextEnds::texts, `ids` are those that the text before it
/// takes, and the reason is kStopText.
struct TextGeneration {
  std::string text;
  Generation generation;
};

/// Does what generate() does, with the text of its ids. `show`, where it is given, is told every piece of
/// text that is certain not to belong to an end. Ids beyond the tokenizer's vocabulary, which a model may
/// have rows for, have no text.
TextGeneration generate_text(DecodeSession& session, std::span<const int64_t> prompt, const TextEnds& ends,
                             int64_t max_new_tokens, const tokenizer::Tokenizer& tokenizer,
                             const PickToken& pick = pick_greedy,
                             const std::function<void(std::string_view)>& show = {});

}  // namespace longlora::generate
