#include "longlora/core/utf8.h"

#include <gtest/gtest.h>

namespace longlora {
namespace {

constexpr size_t kNone = std::string_view::npos;

TEST(Utf8, AcceptsEveryLengthOfCharacter) {
  EXPECT_EQ(find_invalid_utf8(""), kNone);
  EXPECT_EQ(find_invalid_utf8("plain ascii, longer than one block of eight bytes"), kNone);
  EXPECT_EQ(find_invalid_utf8("\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"),
            kNone);
}

TEST(Utf8, FindsTheFirstByteThatIsNoCharacter) {
  EXPECT_EQ(find_invalid_utf8("12345678abc\xE9t\xE9"), 11u);  // Latin-1
  EXPECT_EQ(find_invalid_utf8("a\xC0\x80"), 1u);              // overlong
  EXPECT_EQ(find_invalid_utf8("a\xE0\x9F\xBF"), 1u);          // overlong
  EXPECT_EQ(find_invalid_utf8("a\xED\xA0\x80"), 1u);          // surrogate
  EXPECT_EQ(find_invalid_utf8("a\xF0\x8F\xBF\xBF"), 1u);      // overlong
  EXPECT_EQ(find_invalid_utf8("a\xF4\x90\x80\x80"), 1u);      // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("ab\xE2\x82"), 2u);             // cut off
  EXPECT_EQ(find_invalid_utf8("\x80"), 0u);
}

TEST(Utf8, ReplacesEachStrayByte) {
  EXPECT_EQ(replace_invalid_utf8("a\xE2\x82z\xFF"), "a\uFFFD\uFFFDz\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("é"), "é");
}

TEST(Utf8, ReadsCharactersAndWritesThemAgain) {
  const std::string text = "aé漢😀";
  std::string again;
  std::u32string codes;
  for (size_t at = 0; at < text.size();) {
    codes.push_back(next_character(text, at));
    append_character(codes.back(), &again);
  }
  EXPECT_EQ(codes, U"aé漢😀");
  EXPECT_EQ(again, text);
  size_t at = 1;
  EXPECT_EQ(next_character("a\xE2\x82", at), U'\uFFFD');
  EXPECT_EQ(at, 2u);
}

}  // namespace
}  // namespace longlora
