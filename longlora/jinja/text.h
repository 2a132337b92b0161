// A text that knows which of its bytes came from the data and not from the template.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::jinja {

/// The bytes [begin, end) of a text, which came from a string of the data. `origin` is the positive number
/// that the maker of the data gave that string.
struct Mark {
  size_t begin = 0;
  size_t end = 0;
  int32_t origin = 0;

  bool operator==(const Mark&) const = default;
};

/// A text in UTF-8 with marks, which follow their bytes through every cut and every joining.
class Text {
 public:
  Text() = default;
  /// An origin of 0 leaves the text unmarked: it is the template's own.
  explicit Text(std::string bytes, int32_t origin = 0);

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  /// The marks are ascending and disjoint, and neighbours of one origin are one mark.
  const std::vector<Mark>& marks() const { return marks_; }
  /// The origin of one byte, or 0 where it is the template's own.
  int32_t origin_at(size_t byte) const;

  /// Returns the bytes [begin, end) as a text of their own.
  Text part(size_t begin, size_t end) const;
  void append(std::string_view bytes, int32_t origin = 0);
  void append(const Text& text) { append_part(text, 0, text.size()); }
  void append_part(const Text& text, size_t begin, size_t end);

 private:
  void add_mark(size_t begin, size_t end, int32_t origin);

  std::string bytes_;
  std::vector<Mark> marks_;
};

}  // namespace longlora::jinja
