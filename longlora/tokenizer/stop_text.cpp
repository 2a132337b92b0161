#include "longlora/tokenizer/stop_text.h"

#include <algorithm>
#include <utility>

namespace longlora::tokenizer {

namespace {

// How many bytes at the end of `text` are the beginning of `stop`.
size_t begun(std::string_view text, std::string_view stop) {
  for (size_t size = std::min(text.size(), stop.size() - 1); size > 0; --size)
    if (text.ends_with(stop.substr(0, size))) return size;
  return 0;
}

}  // namespace

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

std::string StopText::push(std::string_view piece) {
  if (found_) return "";
  held_ += piece;
  size_t first = std::string::npos, waiting = 0;
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
    waiting = std::max(waiting, begun(held_, stop));
  }
  found_ = first != std::string::npos;
  const std::string passed = held_.substr(0, found_ ? first : held_.size() - waiting);
  held_.erase(0, found_ ? held_.size() : passed.size());
  return passed;
}

std::string StopText::finish() {
  return std::exchange(held_, {});
}

}  // namespace longlora::tokenizer
