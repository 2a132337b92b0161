// Added tokens, found in text before it is cut into words, by Hugging Face's rules.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/tokenizer/pipeline_spec.h"
#include "longlora/tokenizer/text_range.h"

namespace longlora::tokenizer {

/// Finds several strings at once. The leftmost match counts, and of several that begin there the longest.
class StringFinder {
 public:
  StringFinder() { nodes_.emplace_back(); }
  /// `value` must not be negative. Empty strings are ignored. Where two are equal, the first one counts.
  void add(std::string_view text, int32_t value);
  bool empty() const { return nodes_.size() == 1; }

  struct Match {
    size_t begin = 0, end = 0;
    int32_t value = -1;  // -1: nothing found
  };
  /// The first match that begins at or after `from`.
  Match find(std::string_view text, size_t from) const;

 private:
  struct Node {
    int32_t value = -1;
    std::vector<std::pair<unsigned char, int32_t>> children;  // only a few for each node
  };
  int32_t child(int32_t node, unsigned char byte) const;

  std::vector<Node> nodes_;
  std::array<int32_t, 256> roots_{};  // the child of the root for each first byte; 0: none
};

/// Cuts text at added tokens. Immutable after the last add().
class AddedTokenSplitter {
 public:
  /// `pattern` is the content of the token, normalized where the token is looked for in normalized text.
  void add(const AddedToken& token, std::string_view pattern);
  bool empty() const { return finder_.empty(); }

  /// A stretch of text between tokens (id -1) or one token with the space it takes.
  struct Part {
    size_t begin, end;
    int32_t id;
  };
  /// Gives the parts of `text` in order. None is empty, and together they are the whole text. A special token
  /// is not found where one of its bytes lies in one of the ranges `plain`.
  void split(std::string_view text, std::vector<Part>* parts, std::span<const TextRange> plain = {}) const;

 private:
  StringFinder finder_;
  std::vector<AddedToken> tokens_;
};

}  // namespace longlora::tokenizer
