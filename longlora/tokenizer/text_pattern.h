// What Replace and Split steps look for: a text or a regular expression.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "longlora/core/regex.h"
#include "longlora/tokenizer/pipeline_spec.h"
#include "longlora/tokenizer/regex_syntax.h"

namespace longlora::tokenizer {

/// A compiled PatternSpec. Immutable; safe to use from several threads.
class TextPattern {
 public:
  /// Throws InputError naming `source` for a wrong expression.
  TextPattern(const PatternSpec& spec, const std::string& source) : text_(spec.text) {
    if (!spec.is_regex) return;
    regex_ = std::make_unique<Regex>(translate_regex(spec.text, source), source,
                                     RegexOptions{.multiline = true, .machine_code = true});
  }

  /// Calls `visit(begin, end)` for each match from left to right. An empty text matches nowhere.
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const {
    if (regex_ != nullptr) return regex_->for_each_match(text, visit);
    if (text_.empty()) return;
    for (size_t at = text.find(text_); at != std::string_view::npos; at = text.find(text_, at + text_.size()))
      visit(at, at + text_.size());
  }

  /// `text` in which every match is replaced by `content`, literally.
  std::string replace(std::string_view text, std::string_view content) const {
    std::string result;
    result.reserve(text.size() + text.size() / 4);
    size_t done = 0;
    for_each_match(text, [&](size_t begin, size_t end) {
      result += text.substr(done, begin - done);
      result += content;
      done = end;
    });
    result += text.substr(done);
    return result;
  }

 private:
  std::string text_;
  std::unique_ptr<Regex> regex_;
};

}  // namespace longlora::tokenizer
