#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/jinja/render.h"

namespace longlora::jinja {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(JinjaRefusals, NameWhatIsNotSupportedWithItsPlace) {
  EXPECT_THAT(failure("a\n {% include 'x' %}"),
              StartsWith("[chat template, line 2, column 5] expected one of the tags break, "));
  EXPECT_THAT(failure("{% include 'x' %}"), HasSubstr("got \"include\", which is not supported here"));
  EXPECT_THAT(failure("é {{ x|wordwrap }}"),
              AllOf(HasSubstr("line 1, column 8"), HasSubstr("filters abs, "), HasSubstr("\"wordwrap\"")));
  EXPECT_THAT(failure("{{ x is odd and x is escaped }}"),
              AllOf(HasSubstr("tests "), HasSubstr("\"escaped\"")));
  EXPECT_THAT(failure("{{ x.format(1) }}"), AllOf(HasSubstr("methods "), HasSubstr("\"format\"")));
  EXPECT_THAT(failure("{{ x|map('wordwrap') }}"), HasSubstr("\"wordwrap\""));
  EXPECT_THAT(failure("{{ x|selectattr('a', 'escaped') }}"), HasSubstr("\"escaped\""));
  EXPECT_THAT(failure("{{ joiner() }}"), HasSubstr("\"joiner\" is not supported"));
  EXPECT_THAT(failure("{% for x in y recursive %}{% endfor %}"), HasSubstr("\"recursive\" is not supported"));
  EXPECT_THAT(failure("{{ f(*x) }}"), HasSubstr("not supported"));
}

TEST(JinjaRefusals, NameWhatIsNoTemplate) {
  EXPECT_THAT(failure("{% if x %}"),
              HasSubstr("expected {% elif or else or endif %}, got the end of the template"));
  EXPECT_THAT(failure("{{ x"), HasSubstr("expected the end of this tag, }}"));
  EXPECT_THAT(failure("{{ 'x }}"), HasSubstr("expected the end of a text"));
  EXPECT_THAT(failure("{# x"), HasSubstr("expected the end of a comment"));
  EXPECT_THAT(failure("{{ (1] }}"), HasSubstr("expected \")\", got \"]\""));
  EXPECT_THAT(failure("{{ 1 2 }}"), HasSubstr("expected \"}}\", got \"2\""));
  EXPECT_THAT(failure("{{ }}"), HasSubstr("expected an expression"));
  EXPECT_THAT(failure("{% endif %}"), HasSubstr("\"endif\""));
  EXPECT_THAT(failure("{{ '\\ud800' }}"), HasSubstr("expected the number of a character"));
  EXPECT_THAT(failure("\xff"), HasSubstr("UTF-8"));
}

TEST(JinjaRefusals, NameThePlaceOfWhatFailsOnTheWay) {
  EXPECT_EQ(failure("a\n{{ raise_exception('No ' ~ 1) }}"),
            "[chat template, line 2, column 19] the template refuses this conversation: No 1");
  EXPECT_THAT(failure("{{ 'a' + 1 }}"), HasSubstr("expected values that \"+\" takes, got str and int"));
  EXPECT_THAT(failure("{{ 1 // 0 }}"), HasSubstr("divisor"));
  EXPECT_THAT(failure("{{ [1]|map('upper') }}"), HasSubstr("generator"));
  EXPECT_THAT(failure("{{ range(5)[1:] }}"), HasSubstr("prints the same"));
  EXPECT_THAT(failure("{{ 'o' % x }}"), HasSubstr("formatting a text"));
  EXPECT_THAT(failure("{{ 9223372036854775807 + 1 }}"), HasSubstr("64 bits"));
}

TEST(JinjaRefusals, LimitTheSteps) {
  EXPECT_THAT(failure("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"),
              HasSubstr("steps"));
  EXPECT_THAT(failure("{{ range(100001) }}"), HasSubstr("at most 100000"));
}

TEST(JinjaRefusals, LimitTheBytes) {
  const std::string bytes = "works on at most";
  EXPECT_THAT(
      failure(
          "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"),
      HasSubstr(bytes));
  EXPECT_THAT(failure("{{ 'a' * 99999999999 }}"), HasSubstr(bytes));
  EXPECT_THAT(failure("{{ [0] * 999999999 }}"), HasSubstr(bytes));
  EXPECT_THAT(failure("{{ 'a'|indent(999999999) }}"), HasSubstr(bytes));
  EXPECT_THAT(failure("{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] "
                      "%}{% endfor %}{{ ns.x }}"),
              HasSubstr(bytes));
}

TEST(JinjaRefusals, LimitTheDepth) {
  EXPECT_THAT(failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("nested"));
  EXPECT_THAT(
      failure("{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}"),
      HasSubstr("nested"));
  EXPECT_THAT(failure("{{ " + std::string(9999, '(') + "1" + std::string(9999, ')') + " }}"),
              HasSubstr("nested"));
  EXPECT_THAT(failure("{{ " + std::string(9999, '-') + "1 }}"), HasSubstr("nested"));
  std::string sum = "{{ 1", filters = "{{ x", blocks;
  for (int i = 0; i < 99999; ++i) sum += "+1", filters += "|list", blocks += "{% if 1 %}";
  EXPECT_THAT(failure(sum + " }}"), HasSubstr("levels"));
  EXPECT_THAT(failure(filters + " }}"), HasSubstr("levels"));
  EXPECT_THAT(failure(blocks), HasSubstr("nested"));
}

TEST(JinjaRefusals, LetATemplateReachNothingButItsValues) {
  EXPECT_EQ(render_text("{{ ''.__class__ }}{{ x.__init__ }}{{ x['__class__'] }}", {{"x", {{"a", 1}}}}), "");
  EXPECT_THAT(failure("{% set ns = namespace() %}{% set ns.__init__ = 1 %}"), HasSubstr("\"_\""));
  EXPECT_THAT(failure("{{ x.update({'a': 2}) }}"), HasSubstr("\"update\""));
}

}  // namespace
}  // namespace longlora::jinja
