#include "longlora/core/text.h"

#include <gtest/gtest.h>

namespace longlora {
namespace {

TEST(Trimmed, HasNoSpaceAtItsEnds) {
  EXPECT_EQ(trimmed(" \r\n\ta b \n"), "a b");
  EXPECT_EQ(trimmed("ab"), "ab");
  EXPECT_EQ(trimmed(" \n"), "");
  EXPECT_EQ(trimmed(""), "");
}

TEST(TextDistance, CountsInsertionsRemovalsAndReplacements) {
  EXPECT_EQ(text_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(text_distance("sitting", "kitten"), 3u);
  EXPECT_EQ(text_distance("", "abc"), 3u);
  EXPECT_EQ(text_distance("abc", ""), 3u);
  EXPECT_EQ(text_distance("abc", "abc"), 0u);
  EXPECT_EQ(text_distance("ab", "ba"), 2u);
}

}  // namespace
}  // namespace longlora
