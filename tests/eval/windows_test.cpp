#include "longlora/eval/windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"

namespace longlora::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<int64_t> starts(const std::vector<Window>& windows) {
  std::vector<int64_t> result;
  for (const Window& window : windows) result.push_back(window.start);
  return result;
}

std::vector<int64_t> first_scored(const std::vector<Window>& windows) {
  std::vector<int64_t> result;
  for (const Window& window : windows) result.push_back(window.first_scored);
  return result;
}

// range(0, data_tokens - seq_len, 256) without its last element, as Python counts.
std::vector<int64_t> released_starts(int64_t data_tokens, int64_t seq_len) {
  std::vector<int64_t> result;
  for (int64_t start = 0; start < data_tokens - seq_len; start += 256) result.push_back(start);
  result.pop_back();
  return result;
}

TEST(Windows, StartWhereTheReleasedEvaluationStarts) {
  for (const int64_t data_tokens : {1380, 1535, 1536, 1537, 1792, 1793, 1794, 5000})
    EXPECT_EQ(starts(make_windows(data_tokens, 1024, 1024, {})), released_starts(data_tokens, 1024))
        << data_tokens;
}

TEST(Windows, AllScoresEveryPlace) {
  EXPECT_THAT(first_scored(make_windows(2000, 1024, 1024, {})), ElementsAre(0, 0, 0));
}

TEST(Windows, LastScoresEachTokenOnceAfterTheFirstWindow) {
  const auto windows = make_windows(2000, 1024, 1024, {.mode = WindowMode::kLast});
  EXPECT_THAT(first_scored(windows), ElementsAre(0, 767, 767));
  // Place 767 predicts token 256 + 768 = 1024, which the first window's last place (1022) left next.
  EXPECT_EQ(windows[1].start + windows[1].first_scored + 1, 1024);
}

TEST(Windows, LastScoresAllOfAWindowShorterThanTheStep) {
  EXPECT_THAT(first_scored(make_windows(1000, 100, 100, {.mode = WindowMode::kLast})), ElementsAre(0, 0, 0));
}

TEST(Windows, AreSpreadEvenlyWhenThereAreMoreThanWanted) {
  const auto windows = make_windows(256 * 101 + 101, 100, 100, {.max_windows = 5});
  EXPECT_THAT(starts(windows), ElementsAre(0, 25 * 256, 50 * 256, 75 * 256, 100 * 256));
  EXPECT_EQ(make_windows(256 * 101 + 101, 100, 100, {.max_windows = 1000}).size(), 101u);
  EXPECT_EQ(make_windows(256 * 101 + 101, 100, 100, {.max_windows = 0}).size(), 101u);
}

TEST(Windows, SameTargetsEndsWindowsOfEveryLengthWithTheSameTokens) {
  const WindowOptions options = {.mode = WindowMode::kSameTargets, .max_windows = 7, .target_tokens = 256};
  const auto longest = make_windows(50000, 4096, 4096, options);
  ASSERT_EQ(longest.size(), 7u);
  EXPECT_EQ(longest.front().start, 0);
  EXPECT_EQ(longest.back().start + 4096, 50000);
  for (const int64_t seq_len : {512, 1024, 2048}) {
    const auto windows = make_windows(50000, seq_len, 4096, options);
    ASSERT_EQ(windows.size(), 7u);
    for (size_t i = 0; i < 7; ++i) {
      EXPECT_EQ(windows[i].start + seq_len, longest[i].start + 4096);
      EXPECT_EQ(windows[i].first_scored, seq_len - 1 - 256);  // its prediction is the span's first token
    }
  }
}

TEST(Windows, SameTargetsNeverScoresATokenTwice) {
  const auto windows =
      make_windows(4096 + 1000, 512, 4096, {.mode = WindowMode::kSameTargets, .target_tokens = 256});
  ASSERT_EQ(windows.size(), 4u);  // not 64: 1000 tokens beyond the first hold three more spans
  for (size_t i = 1; i < windows.size(); ++i) EXPECT_GE(windows[i].start - windows[i - 1].start, 256);
}

TEST(Windows, SameTargetsDefaultsTo64Windows) {
  EXPECT_EQ(make_windows(100000, 512, 4096, {.mode = WindowMode::kSameTargets}).size(), 64u);
}

TEST(Windows, SayHowMuchDataIsMissing) {
  const std::string message = "[--data_path] expected at least 1281 tokens for windows of 1024, got 1280";
  EXPECT_THAT([] { make_windows(1280, 1024, 1024, {}); }, ThrowsMessage<InputError>(HasSubstr(message)));
  EXPECT_EQ(make_windows(1281, 1024, 1024, {}).size(), 1u);
  EXPECT_THAT([] { make_windows(4095, 512, 4096, {.mode = WindowMode::kSameTargets}); },
              ThrowsMessage<InputError>(HasSubstr("expected at least 4096 tokens")));
}

TEST(Windows, RefuseOptionsOutOfRange) {
  EXPECT_THROW(make_windows(5000, 1, 1, {}), UsageError);
  EXPECT_THROW(make_windows(5000, 512, 512, {.max_windows = -1}), UsageError);
  EXPECT_THAT([] { make_windows(5000, 256, 512, {.mode = WindowMode::kSameTargets}); },
              ThrowsMessage<UsageError>(HasSubstr("[--target_tokens] expected 1 to 255 tokens")));
  EXPECT_THAT([] { window_mode_from_name("sliding"); },
              ThrowsMessage<UsageError>(HasSubstr("expected all, last or same-targets, got sliding")));
}

TEST(Windows, ModesHaveNamesThatReadBack) {
  for (const WindowMode mode : {WindowMode::kAll, WindowMode::kLast, WindowMode::kSameTargets})
    EXPECT_EQ(window_mode_from_name(window_mode_name(mode)), mode);
}

}  // namespace
}  // namespace longlora::eval
