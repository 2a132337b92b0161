// A part of a text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace longlora::tokenizer {

/// The bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;

  size_t size() const { return end - begin; }
  bool operator==(const TextRange&) const = default;
};

/// Whether one of the bytes [begin, end) lies in one of `ranges`, which are ascending and disjoint.
inline bool touches_any(std::span<const TextRange> ranges, size_t begin, size_t end) {
  const auto first = std::partition_point(ranges.begin(), ranges.end(),
                                          [&](const TextRange& range) { return range.end <= begin; });
  return first != ranges.end() && first->begin < end;
}

}  // namespace longlora::tokenizer
