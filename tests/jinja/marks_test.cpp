#include <gtest/gtest.h>

#include "tests/jinja/render.h"

namespace longlora::jinja {
namespace {

// The text with brackets around what is marked as data.
std::string marked(std::string_view source, const Json& variables) {
  const Text text = render(source, variables).text;
  std::string shown;
  size_t at = 0;
  for (const Mark& mark : text.marks()) {
    shown += text.bytes().substr(at, mark.begin - at) + "[" +
             text.bytes().substr(mark.begin, mark.end - mark.begin) + "]";
    at = mark.end;
  }
  return shown + text.bytes().substr(at);
}

TEST(JinjaMarks, StayWithTheDataThroughEveryOperation) {
  const Json data = {{"x", " a,b "}};
  EXPECT_EQ(marked("<{{ x }}>", data), "<[ a,b ]>");
  EXPECT_EQ(marked("{{ '<' + x|trim + '>' }}", data), "<[a,b]>");
  EXPECT_EQ(marked("{{ x.split(',')[1] ~ '.' }}", data), "[b ].");
  EXPECT_EQ(marked("{{ x.strip().replace(',', '--') }}", data), "[a]--[b]");
  EXPECT_EQ(marked("{{ 'u-v'.replace('-', x.strip()) }}", data), "u[a,b]v");
  EXPECT_EQ(marked("{{ x[::-1] }}{{ x[1] }}{{ x|upper }}", data), "[ b,a a A,B ]");
  EXPECT_EQ(marked("{{ [x, 'y']|join('|') }}", data), "[ a,b ]|y");
  EXPECT_EQ(marked("{% set y %}({{ x }}){% endset %}{{ y }}", data), "([ a,b ])");
  EXPECT_EQ(marked("{% macro f(t) %}({{ t }}){% endmacro %}{{ f(x) }}", data), "([ a,b ])");
  EXPECT_EQ(marked("{{ {'k': x}|tojson }}{{ [x] }}", {{"x", "a\n\"b'"}}),
            R"({"k": "[a\n\"b']"}['[a\n"b\']'])");
  EXPECT_EQ(marked("{{ x|indent(2) }}", {{"x", "a\nb"}}), "[a]\n  [b]");
}

TEST(JinjaMarks, TellOriginsApart) {
  const Variables variables = {{"a", Value::text("one", 3)}, {"b", Value::text("two", 7)}};
  const Text text = Template("t", "{{ a + b + '!' + a }}").render(variables, {}).text;
  EXPECT_EQ(text.marks(), (std::vector<Mark>{{0, 3, 3}, {3, 6, 7}, {7, 10, 3}}));
  EXPECT_EQ(text.origin_at(2), 3);
  EXPECT_EQ(text.origin_at(6), 0);
}

}  // namespace
}  // namespace longlora::jinja
