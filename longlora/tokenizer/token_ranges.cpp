#include "longlora/tokenizer/token_ranges.h"

#include <algorithm>

namespace longlora::tokenizer {

namespace {

// How many stretches of text the ids [0, end) make: one, and one more behind every token that decode() leaves
// out.
size_t count_stretches(const Tokenizer& tokenizer, const Ids& ids, size_t end) {
  const auto is_control = [&](int32_t id) { return tokenizer.decode({id}).empty(); };
  return 1 + static_cast<size_t>(
                 std::count_if(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(end), is_control));
}

}  // namespace

std::optional<std::vector<TextRange>> find_token_ranges(const Tokenizer& tokenizer, std::string_view text,
                                                        const Ids& ids) {
  std::vector<TextRange> ranges;
  ranges.reserve(ids.size());
  size_t at = 0, num_prefixes = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string bytes = tokenizer.token_bytes(ids[i]);
    std::string_view rest = bytes;
    if (!text.substr(at).starts_with(rest)) {
      // The tokenizer itself may have put the space in front of a stretch.
      if (!rest.starts_with(' ') || !text.substr(at).starts_with(rest.substr(1))) return std::nullopt;
      if (++num_prefixes > count_stretches(tokenizer, ids, i)) return std::nullopt;
      rest.remove_prefix(1);
    }
    ranges.push_back({at, at + rest.size()});
    at += rest.size();
  }
  if (at != text.size()) return std::nullopt;
  return ranges;
}

}  // namespace longlora::tokenizer
