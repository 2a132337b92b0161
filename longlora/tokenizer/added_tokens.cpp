#include "longlora/tokenizer/added_tokens.h"

#include <algorithm>

#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

// The start of the character that ends at `end`. Requires end > 0.
size_t character_before(std::string_view text, size_t end) {
  --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

char32_t character_at(std::string_view text, size_t at, size_t* length) {
  return read_character(text.data() + at, length);
}

bool is_space(char32_t code) {
  return (character_classes()[code] & kSpace) != 0;
}

size_t skip_spaces(std::string_view text, size_t at) {
  size_t length = 0;
  while (at < text.size() && is_space(character_at(text, at, &length))) at += length;
  return at;
}

size_t skip_spaces_backward(std::string_view text, size_t at, size_t not_before) {
  size_t length = 0;
  while (at > not_before) {
    const size_t before = character_before(text, at);
    if (!is_space(character_at(text, before, &length))) break;
    at = before;
  }
  return std::max(at, not_before);
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  size_t length = 0;
  if (begin > 0 && is_word_character(character_at(text, character_before(text, begin), &length))) return true;
  return end < text.size() && is_word_character(character_at(text, end, &length));
}

}  // namespace

int32_t StringFinder::child(int32_t node, unsigned char byte) const {
  for (const auto& entry : nodes_[static_cast<size_t>(node)].children)
    if (entry.first == byte) return entry.second;
  return 0;
}

void StringFinder::add(std::string_view text, int32_t value) {
  if (text.empty()) return;
  int32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    int32_t next = i == 0 ? roots_[byte] : child(node, byte);
    if (next == 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      if (i == 0)
        roots_[byte] = next;
      else
        nodes_[static_cast<size_t>(node)].children.emplace_back(byte, next);
    }
    node = next;
  }
  int32_t& held = nodes_[static_cast<size_t>(node)].value;
  if (held < 0) held = value;
}

StringFinder::Match StringFinder::find(std::string_view text, size_t from) const {
  for (size_t at = from; at < text.size(); ++at) {
    int32_t node = roots_[static_cast<unsigned char>(text[at])];
    if (node == 0) continue;
    Match match;
    for (size_t end = at + 1;; ++end) {
      const int32_t value = nodes_[static_cast<size_t>(node)].value;
      if (value >= 0) match = {at, end, value};
      if (end == text.size()) break;
      node = child(node, static_cast<unsigned char>(text[end]));
      if (node == 0) break;
    }
    if (match.value >= 0) return match;
  }
  return {};
}

void AddedTokenSplitter::add(const AddedToken& token, std::string_view pattern) {
  finder_.add(pattern, static_cast<int32_t>(tokens_.size()));
  tokens_.push_back(token);
}

void AddedTokenSplitter::split(std::string_view text, std::vector<Part>* parts,
                               std::span<const TextRange> plain) const {
  parts->clear();
  size_t done = 0;
  size_t spaces_begin = 0,
         spaces_end = 0;  // the last run of spaces that was skipped, so that none is skipped twice
  for (size_t from = 0; from < text.size();) {
    const StringFinder::Match match = finder_.find(text, from);
    if (match.value < 0) break;
    const AddedToken& token = tokens_[static_cast<size_t>(match.value)];
    if (token.special && touches_any(plain, match.begin, match.end)) {
      from = match.begin + 1;  // a token that is none hides no other
      continue;
    }
    from = match.end;
    if (token.single_word && touches_word(text, match.begin, match.end)) continue;
    // Spaces that an earlier token has taken are not taken again.
    const size_t begin = token.lstrip ? skip_spaces_backward(text, match.begin, done) : match.begin;
    size_t end = match.end;
    if (token.rstrip) {
      const bool is_known = spaces_begin <= end && end <= spaces_end;
      spaces_begin = end;
      end = spaces_end = skip_spaces(text, is_known ? spaces_end : end);
    }
    if (begin > done) parts->push_back({done, begin, -1});
    parts->push_back({begin, end, token.id});
    done = end;  // the search goes on behind the match alone, as Hugging Face's does: spaces may be tokens
                 // themselves
  }
  if (done < text.size()) parts->push_back({done, text.size(), -1});
}

}  // namespace longlora::tokenizer
