// Which stretches of the data an evaluation looks at, and which of their tokens count.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longlora::eval {

/// The number of tokens between the starts of two windows.
constexpr int64_t kWindowStepTokens = 256;

enum class WindowMode {
  kAll,          // every token of every window counts: the released evaluation
  kLast,         // the last 256 tokens of each window, all of the first: a sliding window
  kSameTargets,  // the same tokens for every length, with more or less text before them
};

/// The name of a mode on the command line: "all", "last" or "same-targets".
std::string window_mode_name(WindowMode mode);
/// Throws UsageError, which lists the names, for another name.
WindowMode window_mode_from_name(const std::string& name);

/// A stretch of the data that goes through the model. Its place n predicts the token after that place.
struct Window {
  int64_t start = 0;         // its first token's place in the data
  int64_t first_scored = 0;  // the first place whose prediction counts
};

struct WindowOptions {
  WindowMode mode = WindowMode::kAll;
  /// The largest number of windows, which are then spread evenly over the data; 0: all. nullopt: 64 for
  /// kSameTargets, and otherwise all.
  std::optional<int64_t> max_windows = std::nullopt;
  /// For kSameTargets: how many tokens are scored at the end of each window.
  int64_t target_tokens = 256;
  /// For kSameTargets: a length that is counted among those that are evaluated, so that evaluations of other
  /// lengths score the same tokens; 0: none.
  int64_t longest_seq_len = 0;
};

/// The windows of `seq_len` tokens over `data_tokens` tokens. With kAll and kLast they start at range(0,
/// data_tokens - seq_len, 256), without the last of these. With kSameTargets they end with spans of target
/// tokens, which do not overlap and are the same for every seq_len up to `longest_seq_len`. Throws InputError
/// when the data is too short for one window, and UsageError for spans that do not fit into a window.
std::vector<Window> make_windows(int64_t data_tokens, int64_t seq_len, int64_t longest_seq_len,
                                 const WindowOptions& options);

}  // namespace longlora::eval
