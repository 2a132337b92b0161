#include "longlora/tokenizer/special_tokens.h"

#include <algorithm>
#include <utility>

#include "longlora/core/utf8.h"

namespace longlora::tokenizer {

namespace {

// Characters for which Python's str.isspace() holds, as UTF-8.
constexpr std::string_view kSpaces[] = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1c",         "\x1d",         "\x1e",         "\x1f",         " ",
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

size_t skip_spaces_forward(std::string_view text, size_t at) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view space : kSpaces) {
      if (text.substr(at).starts_with(space)) {
        at += space.size();
        found = true;
        break;
      }
    }
  }
  return at;
}

size_t skip_spaces_backward(std::string_view text, size_t at, size_t not_before) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view space : kSpaces) {
      if (text.substr(not_before, at - not_before).ends_with(space)) {
        at -= space.size();
        found = true;
        break;
      }
    }
  }
  return at;
}

}  // namespace

SpecialTokenFinder::SpecialTokenFinder(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const SpecialToken& a, const SpecialToken& b) {
    return a.content.size() > b.content.size();
  });
  for (size_t i = 0; i < tokens_.size(); ++i)
    by_first_byte_[static_cast<unsigned char>(tokens_[i].content.front())].push_back(static_cast<int32_t>(i));
}

std::optional<SpecialTokenFinder::Match> SpecialTokenFinder::find(std::string_view text, size_t from,
                                                                  std::span<const TextRange> plain) const {
  for (size_t at = from; at < text.size(); ++at) {
    for (const int32_t index : by_first_byte_[static_cast<unsigned char>(text[at])]) {
      const SpecialToken& token = tokens_[static_cast<size_t>(index)];
      if (text.compare(at, token.content.size(), token.content) != 0) continue;
      const size_t end = at + token.content.size();
      if (token.special && touches_any(plain, at, end)) continue;
      if (token.single_word &&
          ((at > from && text[at - 1] != ' ') || (end < text.size() && text[end] != ' ')))
        continue;
      return Match{token.lstrip ? skip_spaces_backward(text, at, from) : at,
                   token.rstrip ? skip_spaces_forward(text, end) : end, &token};
    }
  }
  return std::nullopt;
}

}  // namespace longlora::tokenizer
