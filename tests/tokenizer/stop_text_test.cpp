#include "longlora/tokenizer/stop_text.h"

#include <gtest/gtest.h>

namespace longlora::tokenizer {
namespace {

TEST(StopText, PassesTextOnUpToTheStop) {
  StopText stop({"<|im_end|>"});
  EXPECT_EQ(stop.push("red and "), "red and ");
  EXPECT_EQ(stop.push("blue.<|im"), "blue.");
  EXPECT_FALSE(stop.found());
  EXPECT_EQ(stop.push("_end|"), "");
  EXPECT_EQ(stop.push(">\n<|im_start|>"), "");
  EXPECT_TRUE(stop.found());
  EXPECT_EQ(stop.push("more"), "");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopText, HoldsBackNoMoreThanWhatMayBecomeAStop) {
  StopText stop({"<|im_end|>"});
  EXPECT_EQ(stop.push("a <"), "a ");
  EXPECT_EQ(stop.push("b <|"), "<b ");
  EXPECT_EQ(stop.push("im_end <"), "<|im_end ");
  EXPECT_EQ(stop.finish(), "<");
  EXPECT_FALSE(stop.found());
}

TEST(StopText, OfSeveralTheFirstInTheTextCounts) {
  StopText stop({"END", "\n\n", ""});
  EXPECT_EQ(stop.push("one\n"), "one");
  EXPECT_EQ(stop.push("two EN"), "\ntwo ");
  EXPECT_EQ(stop.push("D\n\n"), "");
  EXPECT_TRUE(stop.found());
  StopText both({"END", "\n\n"});
  EXPECT_EQ(both.push("a\n\nb END"), "a");
}

TEST(StopText, WithoutStopsEverythingPasses) {
  StopText stop({});
  EXPECT_EQ(stop.push("<|im_end|>"), "<|im_end|>");
  EXPECT_FALSE(stop.found());
}

}  // namespace
}  // namespace longlora::tokenizer
