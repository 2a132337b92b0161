#include "longlora/report/text.h"

#include <gtest/gtest.h>

#include <cmath>

namespace longlora::report {
namespace {

TEST(EscapeHtml, LeavesNoMarkupAlive) {
  EXPECT_EQ(escape_html("<script>alert(\"1\" & '2')</script>"),
            "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;");
}

TEST(EscapeHtml, KeepsUnicodeAndReplacesWhatIsNoText) {
  EXPECT_EQ(escape_html("größe λ 漢 😀\n\t"), "größe λ 漢 😀\n\t");
  EXPECT_EQ(escape_html(std::string_view("a\0b\x1b", 4)), "a\uFFFDb\uFFFD");
  EXPECT_EQ(escape_html("\xC3("), "\uFFFD(");
  EXPECT_EQ(escape_html("\xE2\x82"), "\uFFFD\uFFFD");
}

TEST(QuoteGnuplot, EndsNoStringAndNoLine) {
  EXPECT_EQ(quote_gnuplot("it's\n`rm` $x \"q\" \\"), "'it’s `rm` $x \"q\" \\'");
  EXPECT_EQ(quote_gnuplot(""), "''");
}

TEST(FormatPerplexity, GivesAboutFourDigits) {
  EXPECT_EQ(format_perplexity(3.349), "3.35");
  EXPECT_EQ(format_perplexity(99.999), "100.0");
  EXPECT_EQ(format_perplexity(512.34), "512.3");
  EXPECT_EQ(format_perplexity(12345.6), "12,346");
  EXPECT_EQ(format_perplexity(1e30), "1.00e+30");
  EXPECT_EQ(format_perplexity(HUGE_VAL), "—");
}

TEST(FormatPercent, ClaimsAllOrNothingOnlyWhenExact) {
  EXPECT_EQ(format_percent(1.0), "100 %");
  EXPECT_EQ(format_percent(0.0), "0 %");
  EXPECT_EQ(format_percent(0.975), "97.5 %");
  EXPECT_EQ(format_percent(0.24), "24.0 %");
  EXPECT_EQ(format_percent(0.9999), "> 99.9 %");
  EXPECT_EQ(format_percent(0.0001), "< 0.1 %");
  EXPECT_EQ(format_percent(std::nan("")), "—");
}

TEST(EncodeBase64, AgreesWithTheVectorsOfRfc4648) {
  EXPECT_EQ(encode_base64(""), "");
  EXPECT_EQ(encode_base64("f"), "Zg==");
  EXPECT_EQ(encode_base64("fo"), "Zm8=");
  EXPECT_EQ(encode_base64("foo"), "Zm9v");
  EXPECT_EQ(encode_base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode_base64("\xff\xfe\xfd"), "//79");
}

}  // namespace
}  // namespace longlora::report
