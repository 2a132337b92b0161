// Texts that end another text, which comes in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longlora::tokenizer {

/// Passes a text on up to the first of several stops. What may be the beginning of a stop is held back until
/// it is clear whether it is one.
class StopText {
 public:
  /// Empty stops are ignored.
  explicit StopText(std::vector<std::string> stops);

  /// Of `piece` and what was held back, returns what is certain to stand before every stop; nothing after
  /// found().
  std::string push(std::string_view piece);
  /// Returns what was held back and turned out to be no stop.
  std::string finish();
  /// Whether one of the stops has come.
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace longlora::tokenizer
