#include "longlora/report/table.h"

#include <gtest/gtest.h>

namespace longlora::report {
namespace {

Table sample() {
  return {{{"model", Align::kLeft}, {"512"}, {"4,096"}},
          {{{"größe"}, {"40.10"}, {"1,500"}}, {{"<b>|"}, {"9.50", true}, {"36.40", true}}, {{"short"}}}};
}

TEST(Table, AlignsPlainTextByDisplayWidth) {
  EXPECT_EQ(to_text(sample()),
            "model    512   4,096\n"
            "-----  ------  ------\n"
            "größe  40.10   1,500\n"
            "<b>|    9.50*  36.40*\n"
            "short\n");
}

TEST(Table, WritesHtmlWithEverythingEscaped) {
  const std::string html = to_html(sample());
  EXPECT_NE(html.find("<th scope=\"row\">&lt;b&gt;|</th>"), std::string::npos) << html;
  EXPECT_NE(html.find("<td class=\"number\"><strong>36.40</strong></td>"), std::string::npos) << html;
  EXPECT_NE(html.find("<th scope=\"col\" class=\"number\">4,096</th>"), std::string::npos) << html;
  EXPECT_EQ(html.find("<b>"), std::string::npos);
}

}  // namespace
}  // namespace longlora::report
