#include "longlora/eval/windows.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"

namespace longlora::eval {
namespace {

constexpr int64_t kDefaultSameTargetWindows = 64;

// The place with number `index` of `count` places that are spread evenly over 0 … last, both ends included.
int64_t spread(int64_t index, int64_t count, int64_t last) {
  return count > 1 ? index * last / (count - 1) : 0;
}

[[noreturn]] void fail_too_short(int64_t data_tokens, int64_t needed_tokens, int64_t seq_len) {
  throw InputError(
      fmt::format("[--data_path] expected at least {} tokens for windows of {}, got {}; use more data or a "
                  "smaller --seq_len",
                  needed_tokens, seq_len, data_tokens));
}

std::vector<Window> sliding_windows(int64_t data_tokens, int64_t seq_len, const WindowOptions& options) {
  // The starts are range(0, data_tokens - seq_len, step) without its last element.
  const int64_t starts = data_tokens > seq_len ? (data_tokens - seq_len - 1) / kWindowStepTokens : 0;
  if (starts < 1) fail_too_short(data_tokens, seq_len + kWindowStepTokens + 1, seq_len);
  const int64_t limit = options.max_windows.value_or(0);
  const int64_t count = limit > 0 ? std::min(limit, starts) : starts;
  std::vector<Window> windows;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t start = spread(i, count, starts - 1) * kWindowStepTokens;
    const bool whole = options.mode == WindowMode::kAll || start == 0;
    windows.push_back({start, whole ? 0 : std::max<int64_t>(0, seq_len - 1 - kWindowStepTokens)});
  }
  return windows;
}

std::vector<Window> same_target_windows(int64_t data_tokens, int64_t seq_len, int64_t longest_seq_len,
                                        const WindowOptions& options) {
  const int64_t span = options.target_tokens;
  if (span < 1 || span >= seq_len)
    throw UsageError(
        fmt::format("[--target_tokens] expected 1 to {} tokens, fewer than the shortest --seq_len, got {}",
                    seq_len - 1, span));
  if (data_tokens < longest_seq_len) fail_too_short(data_tokens, longest_seq_len, longest_seq_len);
  const int64_t last = data_tokens - longest_seq_len;
  const int64_t spans = last / span + 1;  // spans that do not overlap
  const int64_t limit = options.max_windows.value_or(kDefaultSameTargetWindows);
  const int64_t count = limit > 0 ? std::min(limit, spans) : spans;
  std::vector<Window> windows;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t end = longest_seq_len + spread(i, count, last);
    windows.push_back({end - seq_len, seq_len - 1 - span});
  }
  return windows;
}

}  // namespace

std::string window_mode_name(WindowMode mode) {
  switch (mode) {
    case WindowMode::kLast:
      return "last";
    case WindowMode::kSameTargets:
      return "same-targets";
    default:
      return "all";
  }
}

WindowMode window_mode_from_name(const std::string& name) {
  for (const WindowMode mode : {WindowMode::kAll, WindowMode::kLast, WindowMode::kSameTargets})
    if (name == window_mode_name(mode)) return mode;
  throw UsageError(fmt::format("[--window] expected all, last or same-targets, got {}", name));
}

std::vector<Window> make_windows(int64_t data_tokens, int64_t seq_len, int64_t longest_seq_len,
                                 const WindowOptions& options) {
  if (seq_len < 2) throw UsageError(fmt::format("[--seq_len] expected at least 2 tokens, got {}", seq_len));
  if (options.max_windows.value_or(0) < 0)
    throw UsageError(fmt::format("[--max_windows] expected 0 (all) or more, got {}", *options.max_windows));
  if (options.mode != WindowMode::kSameTargets) return sliding_windows(data_tokens, seq_len, options);
  return same_target_windows(data_tokens, seq_len, longest_seq_len, options);
}

}  // namespace longlora::eval
