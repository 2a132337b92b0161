// Texts that end a text which comes in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longlora::tokenizer {

/// Passes a text on up to the first of several stops. What may be the beginning of a stop is held back until
/// it is clear what it is.
class StopText {
 public:
  /// Empty stops count for nothing.
  explicit StopText(std::vector<std::string> stops);

  /// What is certain to stand before every stop, of `piece` and what was held back. Nothing once found().
  std::string push(std::string_view piece);
  /// What was held back and turned out to be no stop.
  std::string finish();
  /// Whether one of the stops has come.
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace longlora::tokenizer
