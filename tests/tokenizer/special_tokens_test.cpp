#include "longlora/tokenizer/special_tokens.h"

#include <gtest/gtest.h>

namespace longlora::tokenizer {
namespace {

// Matches point into the finder, so it has to stay.
const SpecialTokenFinder& finder() {
  static const SpecialTokenFinder kFinder({{.content = "<s>", .id = 1},
                                           {.content = "<s>>", .id = 2},
                                           {.content = "<m>", .id = 3, .lstrip = true, .rstrip = true},
                                           {.content = "<w>", .id = 4, .single_word = true}});
  return kFinder;
}

TEST(SpecialTokenFinder, TakesTheLeftmostAndOfThoseTheLongest) {
  const auto match = finder().find("a <<s>>> <m>", 0);
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->token->id, 2);
  EXPECT_EQ(match->begin, 3u);
  EXPECT_EQ(match->end, 7u);
}

TEST(SpecialTokenFinder, TakesTheSpaceAroundTokensThatStripIt) {
  const auto match = finder().find("a \u3000\n<m>\t\u00a0 b", 0);
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->begin, 1u);
  EXPECT_EQ(match->end, 13u);
  // What an earlier token has taken is not taken again.
  EXPECT_EQ(finder().find("  <m>", 1)->begin, 1u);
}

TEST(SpecialTokenFinder, LeavesSingleWordTokensInsideWordsAlone) {
  EXPECT_FALSE(finder().find("a<w> <w>b", 0).has_value());
  EXPECT_TRUE(finder().find("a <w> b", 0).has_value());
  EXPECT_TRUE(finder().find("<w>", 0).has_value());
}

TEST(SpecialTokenFinder, FindsNothingInUnfinishedTokens) {
  EXPECT_FALSE(finder().find("<s", 0).has_value());
  EXPECT_FALSE(finder().find("", 0).has_value());
  EXPECT_FALSE(SpecialTokenFinder().find("<s>", 0).has_value());
}

}  // namespace
}  // namespace longlora::tokenizer
