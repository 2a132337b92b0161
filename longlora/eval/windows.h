// Which stretches of the data an evaluation looks at, and which of their tokens count.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longlora::eval {

/// Tokens between the starts of two windows.
constexpr int64_t kWindowStepTokens = 256;

enum class WindowMode {
  kAll,          // every token of every window counts: the released evaluation
  kLast,         // the last 256 tokens of each window, all of the first: a sliding window
  kSameTargets,  // the same tokens for every length, with more or less text before them
};

/// "all", "last", "same-targets".
std::string window_mode_name(WindowMode mode);
/// Throws UsageError listing the names.
WindowMode window_mode_from_name(const std::string& name);

/// A stretch of the data that goes through the model. Place n of it predicts the
/// token after it.
struct Window {
  int64_t start = 0;         // in the data
  int64_t first_scored = 0;  // first place whose prediction counts
};

struct WindowOptions {
  WindowMode mode = WindowMode::kAll;
  /// At most so many, spread evenly; 0: all. Nothing: all, and 64 for kSameTargets.
  std::optional<int64_t> max_windows = std::nullopt;
  /// kSameTargets: tokens scored at the end of each window.
  int64_t target_tokens = 256;
};

/// Windows of `seq_len` tokens over `data_tokens` tokens. kAll and kLast: starts
/// range(0, data_tokens - seq_len, 256) without the last. kSameTargets: windows
/// that end with target spans which do not overlap and are the same for every
/// seq_len up to `longest_seq_len`. Throws InputError when the data is too short
/// for one window, UsageError for spans that do not fit a window.
std::vector<Window> make_windows(int64_t data_tokens, int64_t seq_len, int64_t longest_seq_len,
                                 const WindowOptions& options);

}  // namespace longlora::eval
