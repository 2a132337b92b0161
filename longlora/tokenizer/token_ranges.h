// Which bytes of a text each of its tokens stands for.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// The range of every token of ids = tokenizer.encode(text, false), in order and without gaps. The tokens are
/// written out one after the other and compared with the text byte by byte, so the ranges are certain; only
/// the space that a tokenizer puts in front of a stretch of text takes no bytes. Returns nullopt where the
/// tokenizer has changed the text: normalized it, or lost characters that it does not know.
std::optional<std::vector<TextRange>> find_token_ranges(const Tokenizer& tokenizer, std::string_view text,
                                                        const Ids& ids);

}  // namespace longlora::tokenizer
