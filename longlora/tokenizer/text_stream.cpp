#include "longlora/tokenizer/text_stream.h"

#include "longlora/core/utf8.h"
#include "longlora/tokenizer/chat.h"

namespace longlora::tokenizer {

std::string TextStream::push(int64_t id) {
  if (!has_text(tokenizer_, id)) return "";
  ids_.push_back(static_cast<int32_t>(id));
  const std::string text = tokenizer_.decode(ids_);
  if (text.size() <= printed_.size() || text.ends_with(kReplacementCharacter)) return "";
  std::string piece = text.substr(printed_.size());
  // The ids of this piece stay, so that the next one is decoded behind them: the first id of a text may lose
  // its space.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(num_printed_));
  printed_ = tokenizer_.decode(ids_);
  num_printed_ = ids_.size();
  return piece;
}

std::string TextStream::finish() {
  const std::string text = tokenizer_.decode(ids_);
  std::string rest = text.size() > printed_.size() ? text.substr(printed_.size()) : "";
  ids_.clear();
  printed_.clear();
  num_printed_ = 0;
  return rest;
}

}  // namespace longlora::tokenizer
