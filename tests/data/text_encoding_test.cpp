#include "longlora/data/text_encoding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/support/temporary_directory.h"

namespace longlora::data {
namespace {

using ::testing::HasSubstr;

TEST(TextEncoding, TakesValidUtf8AsSuch) {
  EXPECT_EQ(detect_encoding("", "x"), TextEncoding::kUtf8);
  EXPECT_EQ(detect_encoding("naïve €", "x"), TextEncoding::kUtf8);
  EXPECT_EQ(detect_encoding("\xEF\xBB\xBFnaïve", "x"), TextEncoding::kUtf8WithMark);
  EXPECT_EQ(without_mark("\xEF\xBB\xBFnaïve", TextEncoding::kUtf8WithMark), "naïve");
}

TEST(TextEncoding, FallsBackToLatin1) {
  const std::string text = "na\xEFve caf\xE9";
  EXPECT_EQ(detect_encoding(text, "x"), TextEncoding::kLatin1);
  EXPECT_EQ(to_utf8(text, TextEncoding::kLatin1), "naïve café");
}

TEST(TextEncoding, FallsBackToWindows1252WhereItsQuotesOccur) {
  const std::string text = "\x93quote\x94 \x80 \x97 \x9F \xE9 \x81";
  EXPECT_EQ(detect_encoding(text, "x"), TextEncoding::kWindows1252);
  EXPECT_EQ(to_utf8(text, TextEncoding::kWindows1252), "“quote” € — Ÿ é \u0081");
}

TEST(TextEncoding, RefusesUtf16AndBinaryData) {
  const auto message = [](std::string_view bytes) {
    return test::message_of<InputError>([&] { detect_encoding(bytes, "dir/x.txt"); });
  };
  EXPECT_THAT(message(std::string_view("\xFF\xFEh\0i\0", 6)),
              HasSubstr("[dir/x.txt] expected UTF-8 or Latin-1"));
  EXPECT_THAT(message(std::string_view("\xFE\xFF\0h", 4)), HasSubstr("UTF-16"));
  EXPECT_THAT(message(std::string_view("\x89PNG\0\0", 6)), HasSubstr("binary data"));
}

TEST(TextEncoding, TurnsCrLfIntoLfAndKeepsALoneCr) {
  std::string text = "a\r\nb\r\r\nc\rd\r\n";
  EXPECT_TRUE(convert_line_ends(&text));
  EXPECT_EQ(text, "a\nb\r\nc\rd\n");
  text = "a\nb\r";
  EXPECT_FALSE(convert_line_ends(&text));
  EXPECT_EQ(text, "a\nb\r");
}

}  // namespace
}  // namespace longlora::data
