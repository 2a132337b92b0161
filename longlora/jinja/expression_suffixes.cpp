// Parses what stands behind an expression: attributes, indices, calls, filters and tests.
#include <fmt/format.h>

#include "longlora/jinja/expression_parser.h"

namespace longlora::jinja {

ExpressionPointer ExpressionParser::parse_postfix(ExpressionPointer subject) {
  while (true) {
    if (tokens_.is_operator("."))
      subject = parse_dot(std::move(subject));
    else if (tokens_.is_operator("["))
      subject = parse_subscript(std::move(subject));
    else if (tokens_.is_operator("("))
      subject = parse_call(std::move(subject));
    else
      return subject;
  }
}

ExpressionPointer ExpressionParser::parse_dot(ExpressionPointer subject) {
  tokens_.take();
  if (tokens_.is(TokenKind::kInteger)) {
    ExpressionPointer item = make(ExpressionKind::kItem, tokens_.offset());
    ExpressionPointer index = make(ExpressionKind::kConstant, tokens_.offset());
    index->value = Value::integer(tokens_.take().integer);
    return with_operands(std::move(item), std::move(subject), std::move(index));
  }
  const Token name = tokens_.expect(TokenKind::kName, "a name or a number");
  if (tokens_.is_operator("(") && !is_method(name.text))
    tokens_.fail(name.offset,
                 fmt::format("expected one of the methods {}, got \"{}\", which is not supported",
                             method_names(), name.text));
  ExpressionPointer attribute = make(ExpressionKind::kAttribute, name.offset);
  attribute->name = name.text;
  add_operand(attribute.get(), std::move(subject));
  return attribute;
}

ExpressionPointer ExpressionParser::parse_subscript(ExpressionPointer subject) {
  const size_t offset = tokens_.take().offset;
  std::vector<ExpressionPointer> parts;
  const auto parse_part = [&] {
    const bool is_empty = tokens_.is_operator(":") || tokens_.is_operator("]") || tokens_.is_operator(",");
    parts.push_back(is_empty ? nullptr : parse_expression());
  };
  parse_part();
  const bool is_slice = tokens_.is_operator(":");
  while (parts.size() < 3 && tokens_.take_operator(":")) parse_part();
  if (tokens_.is_operator(","))
    tokens_.fail(tokens_.offset(), "expected one index, got several, which is not supported");
  tokens_.expect_operator("]");
  if (!is_slice && parts[0] == nullptr) tokens_.fail(offset, "expected an index, got nothing");
  ExpressionPointer item = make(is_slice ? ExpressionKind::kSlice : ExpressionKind::kItem, offset);
  if (is_slice) parts.resize(3);
  add_operand(item.get(), std::move(subject));
  for (ExpressionPointer& part : parts) add_operand(item.get(), std::move(part));
  return item;
}

ExpressionPointer ExpressionParser::parse_call(ExpressionPointer callee) {
  ExpressionPointer call = make(ExpressionKind::kCall, tokens_.offset());
  add_operand(call.get(), std::move(callee));
  parse_arguments(call.get());
  return call;
}

void ExpressionParser::parse_arguments(Expression* call) {
  tokens_.expect_operator("(");
  bool is_first = true;
  while (!tokens_.take_operator(")")) {
    if (!is_first) {
      tokens_.expect_operator(",");
      if (tokens_.take_operator(")")) break;
    }
    is_first = false;
    if (tokens_.is_operator("*") || tokens_.is_operator("**"))
      tokens_.fail(tokens_.offset(),
                   fmt::format("expected arguments one by one, got \"{}\", which is not supported",
                               tokens_.current().text));
    const Token& next = tokens_.ahead();
    if (tokens_.is(TokenKind::kName) && next.kind == TokenKind::kOperator && next.text == "=") {
      std::string name = tokens_.take().text;
      tokens_.take();
      call->keywords.emplace_back(std::move(name), parse_expression());
      count_levels(call, call->keywords.back().second);
    } else {
      if (!call->keywords.empty())
        tokens_.fail(tokens_.offset(), "expected arguments by position before those by name");
      call->arguments.push_back(parse_expression());
      count_levels(call, call->arguments.back());
    }
  }
}

ExpressionPointer ExpressionParser::parse_filters(ExpressionPointer subject) {
  while (tokens_.is_operator("|")) subject = parse_one_filter(std::move(subject));
  return subject;
}

ExpressionPointer ExpressionParser::parse_one_filter(ExpressionPointer subject) {
  tokens_.take();
  const Token name = tokens_.expect(TokenKind::kName, "the name of a filter");
  ExpressionPointer filter = make(ExpressionKind::kFilter, name.offset);
  filter->name = name.text;
  filter->filter = find_filter(name.text);
  if (filter->filter == nullptr)
    tokens_.fail(name.offset,
                 fmt::format("expected one of the filters {}, got \"{}\", which is not supported",
                             filter_names(), name.text));
  add_operand(filter.get(), std::move(subject));
  if (tokens_.is_operator("(")) parse_arguments(filter.get());
  check_named_by_text(*filter);
  return filter;
}

// Checks the names that filters take as texts, of another filter or of a test: map("upper"),
// selectattr("role", "eq", "user").
void ExpressionParser::check_named_by_text(const Expression& filter) const {
  const bool names_filter = filter.name == "map";
  const bool of_attribute = filter.name == "selectattr" || filter.name == "rejectattr";
  if (!names_filter && !of_attribute && filter.name != "select" && filter.name != "reject") return;
  const size_t place = of_attribute ? 1 : 0;
  if (filter.arguments.size() <= place) return;
  const Expression& name = *filter.arguments[place];
  if (name.kind != ExpressionKind::kConstant || !name.value.is_text())
    tokens_.fail(name.offset,
                 fmt::format("expected the name of a {} written out", names_filter ? "filter" : "test"));
  if (names_filter ? find_filter(name.value.bytes()) == nullptr : find_test(name.value.bytes()) == nullptr)
    tokens_.fail(name.offset,
                 fmt::format("expected one of the {}, got \"{}\", which is not supported",
                             names_filter ? "filters " + filter_names() : "tests " + test_names(),
                             name.value.bytes()));
}

bool ExpressionParser::test_argument_follows() const {
  if (tokens_.is(TokenKind::kName))
    return !tokens_.is_name("else") && !tokens_.is_name("or") && !tokens_.is_name("and");
  return tokens_.is(TokenKind::kString) || tokens_.is(TokenKind::kInteger) || tokens_.is(TokenKind::kFloat) ||
         tokens_.is_operator("[") || tokens_.is_operator("{");
}

ExpressionPointer ExpressionParser::parse_test(ExpressionPointer subject) {
  const size_t offset = tokens_.take().offset;
  const bool is_negated = tokens_.take_name("not");
  const Token name = tokens_.expect(TokenKind::kName, "the name of a test");
  ExpressionPointer test = make(ExpressionKind::kTest, name.offset);
  test->name = name.text;
  test->test = find_test(name.text);
  if (test->test == nullptr)
    tokens_.fail(name.offset, fmt::format("expected one of the tests {}, got \"{}\", which is not supported",
                                          test_names(), name.text));
  add_operand(test.get(), std::move(subject));
  if (tokens_.is_operator("(")) {
    parse_arguments(test.get());
  } else if (test_argument_follows()) {
    if (tokens_.is_name("is")) tokens_.fail(tokens_.offset(), "expected one test, got a chain of them");
    test->arguments.push_back(parse_postfix(parse_primary()));
    count_levels(test.get(), test->arguments.back());
  }
  if (!is_negated) return test;
  ExpressionPointer negated = make(ExpressionKind::kNot, offset);
  add_operand(negated.get(), std::move(test));
  return negated;
}

}  // namespace longlora::jinja
