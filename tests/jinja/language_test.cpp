// What the values are was asked of jinja2 3.1.6.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/jinja/render.h"

namespace longlora::jinja {
namespace {

const Json kChat = {
    {"messages", {{{"role", "user"}, {"content", " Hi "}}, {{"role", "assistant"}, {"content", "Yo"}}}},
    {"tools", nullptr}};

TEST(JinjaWhitespace, TakesLineEndsBehindTagsAndBlanksBeforeThem) {
  EXPECT_EQ(render_text("a\n  {% if true %}\n  b\n  {% endif %}\nc"), "a\n  b\nc");
  EXPECT_EQ(render_text("a \n {%- if true -%}\n b {{- 1 -}} \n{% endif %}"), "ab1");
  EXPECT_EQ(render_text("  {%+ if true %}x{% endif +%}\ny"), "  x\ny");
  EXPECT_EQ(render_text("  {# gone #}\nx{#- gone -#} y"), "xy");
  EXPECT_EQ(render_text("  {{ 1 }}\n"), "  1");  // the last line end of a template is not written
  EXPECT_EQ(render_text("a\r\nb\rc\n\n"), "a\nb\nc\n");
}

TEST(JinjaWhitespace, LeavesRawBlocksAsTheyAre) {
  EXPECT_EQ(render_text("{% raw %}{{ x }}{% if %}{% endraw %}!"), "{{ x }}{% if %}!");
  EXPECT_EQ(render_text("{%- raw -%}  {{ {%- endraw -%}  !"), "{{!");
}

TEST(JinjaExpressions, FollowPythonsPrecedences) {
  EXPECT_EQ(render_text("{{ 1 + 2 * 3 - 4 // 3 }} {{ 2 ** 3 ** 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }}"),
            "6 64 -4 2 3.5");
  EXPECT_EQ(render_text("{{ not 1 == 2 and 3 or 4 }} {{ 1 < 2 < 3 }} {{ 1 ~ 2 * 3 }}"), "3 True 16");
  EXPECT_EQ(render_text("{{ 'a' if false else 'b' if false else 'c' }}{{ 'x' if false }}"), "c");
  EXPECT_EQ(render_text("{{ 'a' in 'cab' }} {{ 2 not in [1] }} {{ -1|abs }} {{ (-1)|abs }} {{ 3 is odd and 2 "
                        "is not odd }}"),
            "True True 1 1 True");
}

TEST(JinjaExpressions, PrintAsPythonDoes) {
  EXPECT_EQ(render_text("{{ none }} {{ true }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 1e22 }}"),
            "None True 1.0 1e+16 1e-05 0.30000000000000004 1e+22");
  EXPECT_EQ(
      render_text(R"({{ ["it's", 'a"b', "\n\x00\u2028é"] }} {{ {'a': (1,), 2: []} }} {{ range(1, 3) }})"),
      R"(["it's", 'a"b', '\n\x00\u2028é'] {'a': (1,), 2: []} range(1, 3))");
  EXPECT_EQ(render_text("{{ {'a': 1}.items() }} {{ {'a': 1}.keys()|list }}"), "dict_items([('a', 1)]) ['a']");
}

TEST(JinjaExpressions, CutTextsByCharactersAndFromTheEnd) {
  EXPECT_EQ(render_text("{{ 'añb🙂c'[::-1] }} {{ 'añb🙂c'[1:4] }} {{ 'añb🙂c'[-2] }} {{ 'abc'[9:] "
                        "}}|{{ [1, 2, 3][1:][0] }}"),
            "c🙂bña ñb🙂 🙂 |2");
  EXPECT_EQ(render_text("{{ 'abcdef'[4:0:-2] }} {{ [1, 2, 3, 4][-3:-1] }} {{ 'ñ🙂'|length }}"),
            "ec [2, 3] 2");
}

TEST(JinjaExpressions, LetWhatIsMissingBeTestedAndWrittenButNotUsed) {
  EXPECT_EQ(
      render_text("{{ nothing }}{{ nothing is defined }}{{ tools is defined }}{{ messages[7] is defined }}",
                  kChat),
      "FalseTrueFalse");
  EXPECT_EQ(render_text("{% for x in nothing %}{{ x }}{% else %}none{% endfor %}{{ nothing|default('d') }}"),
            "noned");
  EXPECT_THAT(failure("{{ nothing.more }}"), testing::HasSubstr("\"nothing\" is undefined"));
  EXPECT_THAT(failure("{{ nothing + 1 }}"), testing::HasSubstr("\"nothing\" is undefined"));
  EXPECT_THAT(failure("{{ nothing() }}"), testing::HasSubstr("\"nothing\" is undefined"));
}

TEST(JinjaExpressions, FindMethodsBeforeKeysWithADotAndKeysBeforeMethodsWithBrackets) {
  const Json schema = {{"d", {{"items", {{"type", "x"}}}}}};
  EXPECT_EQ(render_text("{{ d['items'].type }} {{ d.items is mapping }} {{ d.items()|length }}", schema),
            "x False 1");
}

TEST(JinjaStatements, KeepWhatALoopSetsInsideItButForNamespaces) {
  EXPECT_EQ(render_text("{% set x = 1 %}{% set ns = namespace(y=1) %}{% for i in [1, 2] %}{% set x = x + i %}"
                        "{% set ns.y = ns.y + i %}{{ x }}{% endfor %}{{ x }}{{ ns.y }}"),
            "2314");
  EXPECT_EQ(render_text("{% if true %}{% set x = 1 %}{% endif %}{{ x }}"), "1");
}

TEST(JinjaStatements, KnowWhereALoopStands) {
  EXPECT_EQ(
      render_text(
          "{% for c in 'ab' %}{{ loop.index }}{{ loop.index0 }} {{ loop.first }} {{ loop.last }} {{ "
          "loop.length }}"
          "{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('x', 'y') }};{% endfor %}"),
      "10 True False 22bx;21 False True 21ay;");
}

TEST(JinjaStatements, TakeElseWhereNoPassOfALoopCameToItsEnd) {
  EXPECT_EQ(render_text("{% for c in 'ab' %}{% continue %}{% else %}x{% endfor %}"), "x");
  EXPECT_EQ(render_text("{% for c in 'ab' %}{% if c == 'b' %}{% break %}{% endif %}{% else %}x{% endfor %}"),
            "");
}

TEST(JinjaStatements, BreakAndContinue) {
  EXPECT_EQ(
      render_text("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}"
                  "{% endif %}{{ i }}{% endfor %}"),
      "02");
  EXPECT_EQ(render_text("{% for i in range(9) if i is odd %}{{ i }}{{ ',' if not loop.last }}{% endfor %}"),
            "1,3,5,7");
  EXPECT_THAT(failure("{% break %}"), testing::HasSubstr("inside a loop"));
}

TEST(JinjaStatements, SetBlocksUnpackAndMacros) {
  EXPECT_EQ(render_text("{% set x | upper %}a{{ 1 }}b{% endset %}{{ x }}"), "A1B");
  EXPECT_EQ(render_text("{% for k, (a, b) in [(1, (2, 3))] %}{{ k }}{{ a }}{{ b }}{% endfor %}"), "123");
  EXPECT_EQ(
      render_text(
          "{% macro f(a, b=2, c=b) %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, c=5) }}{{ f() }}"),
      "122;125;22;");
  EXPECT_EQ(
      render_text("{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}"),
      "3210");
}

TEST(JinjaStatements, SayWhichBytesWereGenerated) {
  const Rendered rendered = render(
      "é{% for m in messages %}{% generation %}{{ m.content }}.{% endgeneration %}|{% endfor %}", kChat);
  EXPECT_EQ(rendered.text.bytes(), "é Hi .|Yo.|");
  EXPECT_EQ(rendered.generated, (std::vector<ByteRange>{{2, 7}, {8, 11}}));
}

TEST(JinjaFilters, WorkAsJinjasDo) {
  EXPECT_EQ(render_text("{{ ' x '|trim }}{{ 'aXb'|replace('X', '-') }}{{ 'ab'|upper }}{{ 'hello "
                        "wORLD-foo'|title }}{{ 'ß'|capitalize }}"),
            "xa-bABHello World-FooSs");
  EXPECT_EQ(render_text("{{ messages|map(attribute='role')|join(',') }} {{ messages|selectattr('role', 'eq', "
                        "'user')|list|length }}"
                        " {{ messages|rejectattr('role', 'in', ['user'])|map(attribute='content')|first }}",
                        kChat),
            "user,assistant 1 Yo");
  EXPECT_EQ(render_text("{{ 'a\nb\n\nc'|indent(2) }}|{{ 2.5|round }}|{{ 3.14159|round(2) }}|{{ '12'|int + 1 "
                        "}}|{{ 'x'|int(7) }}"),
            "a\n  b\n\n  c|2.0|3.14|13|7");
  EXPECT_EQ(render_text("{{ {'b': 1, 'A': 2}|dictsort }} {{ ['b', 'A']|sort }} {{ [3, 1]|sum }} {{ ['a', "
                        "'A']|unique|list }}"),
            "[('A', 2), ('b', 1)] ['A', 'b'] 4 ['a']");
  EXPECT_EQ(render_text("{{ [{}]|max }} {{ range(5)[1:]|list }} {{ range(2) }} {{ (1, 2).copy is defined }}"),
            "{} [1, 2, 3, 4] range(0, 2) False");
}

TEST(JinjaFilters, WriteJsonAsPythonDoes) {
  const Json value = {{"v", {{"b", {1, 2.0, nullptr, true}}, {"a", "é<\"\n\x01"}, {"e", Json::object()}}}};
  EXPECT_EQ(render_text("{{ v|tojson }}", value),
            R"({"b": [1, 2.0, null, true], "a": "é<\"\n\u0001", "e": {}})");
  EXPECT_EQ(render_text("{{ v|tojson(indent=2, sort_keys=true) }}", value),
            "{\n  \"a\": \"é<\\\"\\n\\u0001\",\n  \"b\": [\n    1,\n    2.0,\n    null,\n    true\n  ],\n  "
            "\"e\": {}\n}");
  EXPECT_EQ(render_text("{{ '🙂é'|tojson(ensure_ascii=true) }}"), R"("\ud83d\ude42\u00e9")");
}

TEST(JinjaFilters, EscapeWhatIsAddedToSafeTexts) {
  EXPECT_EQ(render_text("{{ ('<a>'|safe) + '<b>' }}{{ '<c>'|safe ~ '<d>' }}"), "<a>&lt;b&gt;<c><d>");
  EXPECT_THAT(failure("{{ ('a'|safe).upper() }}"), testing::HasSubstr("\"safe\""));
}

TEST(JinjaMethods, WorkAsPythonsDo) {
  EXPECT_EQ(render_text("{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ ' a  b c '.split(none, 1) }}{{ "
                        "'a,b,c'.rsplit(',', 1) }}"),
            "['a', 'b', '', 'c']['a', 'b']['a', 'b c ']['a,b', 'c']");
  EXPECT_EQ(render_text("{{ 'xaxx'.strip('x') }}{{ 'abc'.startswith(('z', 'a')) }}{{ 'abc'.find('c') }}{{ "
                        "'aaa'.replace('a', 'b', 2) }}"),
            "aTrue2bba");
  EXPECT_EQ(
      render_text("{{ {'a': 1}.get('b', 2) }}{{ 'a-b-c'.partition('-') }}{{ 'ab\ncd\n'.splitlines() }}"),
      "2('a', '-', 'b-c')['ab', 'cd']");
}

TEST(JinjaDates, ComeFromTheOptions) {
  RenderOptions options;
  options.now.tm_year = 124, options.now.tm_mon = 6, options.now.tm_mday = 26;
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y') }}", Json::object(), options).text.bytes(), "26 Jul 2024");
}

}  // namespace
}  // namespace longlora::jinja
