#include "longlora/jinja/text.h"

#include <algorithm>
#include <utility>

namespace longlora::jinja {

Text::Text(std::string bytes, int32_t origin) : bytes_(std::move(bytes)) {
  add_mark(0, bytes_.size(), origin);
}

int32_t Text::origin_at(size_t byte) const {
  const auto mark = std::partition_point(marks_.begin(), marks_.end(),
                                         [&](const Mark& candidate) { return candidate.end <= byte; });
  return mark != marks_.end() && mark->begin <= byte ? mark->origin : 0;
}

Text Text::part(size_t begin, size_t end) const {
  Text cut;
  cut.append_part(*this, begin, end);
  return cut;
}

void Text::append(std::string_view bytes, int32_t origin) {
  const size_t begin = bytes_.size();
  bytes_ += bytes;
  add_mark(begin, bytes_.size(), origin);
}

void Text::append_part(const Text& text, size_t begin, size_t end) {
  const size_t start = bytes_.size();
  bytes_.append(text.bytes_, begin, end - begin);
  auto mark = std::partition_point(text.marks_.begin(), text.marks_.end(),
                                   [&](const Mark& candidate) { return candidate.end <= begin; });
  for (; mark != text.marks_.end() && mark->begin < end; ++mark)
    add_mark(std::max(mark->begin, begin) - begin + start, std::min(mark->end, end) - begin + start,
             mark->origin);
}

void Text::add_mark(size_t begin, size_t end, int32_t origin) {
  if (origin == 0 || begin == end) return;
  if (!marks_.empty() && marks_.back().origin == origin && marks_.back().end == begin)
    marks_.back().end = end;
  else
    marks_.push_back({begin, end, origin});
}

}  // namespace longlora::jinja
