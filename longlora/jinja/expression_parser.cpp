#include "longlora/jinja/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace longlora::jinja {

namespace {

// How deep brackets may nest. Each level is a dozen frames of the parser.
constexpr int kMaxDepth = 100;
// How many levels an expression may have, where "a + b + c" and "a|b|c" have three.
constexpr int kMaxLevels = 400;

template <size_t N>
bool is_one_of(const std::array<const char*, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

// Counts one more level of nesting for as long as the object lives.
class ExpressionParser::Nested {
 public:
  explicit Nested(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.depth_ > kMaxDepth)
      parser_.tokens_.fail(parser_.tokens_.offset(),
                           fmt::format("expected expressions nested at most {} deep, got more", kMaxDepth));
  }
  ~Nested() { --parser_.depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  ExpressionParser& parser_;
};

ExpressionPointer ExpressionParser::make(ExpressionKind kind, size_t offset) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->offset = offset;
  return made;
}

void ExpressionParser::count_levels(Expression* parent, const ExpressionPointer& child) const {
  if (child == nullptr) return;
  parent->levels = std::max(parent->levels, child->levels + 1);
  if (parent->levels > kMaxLevels)
    tokens_.fail(parent->offset,
                 fmt::format("expected an expression of at most {} levels, got more", kMaxLevels));
}

void ExpressionParser::add_operand(Expression* parent, ExpressionPointer child) const {
  count_levels(parent, child);
  parent->operands.push_back(std::move(child));
}

ExpressionPointer ExpressionParser::with_operands(ExpressionPointer made, ExpressionPointer left,
                                                  ExpressionPointer right) const {
  add_operand(made.get(), std::move(left));
  add_operand(made.get(), std::move(right));
  return made;
}

ExpressionPointer ExpressionParser::make_name(const Token& token) {
  ExpressionPointer name = make(ExpressionKind::kName, token.offset);
  name->name = token.text;
  names_.emplace_back(token.text, token.offset);
  return name;
}

ExpressionPointer ExpressionParser::parse_expression(bool with_conditional) {
  const Nested nested(*this);
  return with_conditional ? parse_conditional() : parse_or();
}

ExpressionPointer ExpressionParser::parse_tuple(bool with_conditional,
                                                std::initializer_list<std::string_view> ends) {
  const auto is_end = [&] {
    return tokens_.is(TokenKind::kEndOutput) || tokens_.is(TokenKind::kEndTag) || tokens_.is_operator(")") ||
           std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return tokens_.is_name(end); });
  };
  const size_t offset = tokens_.offset();
  if (is_end()) tokens_.fail_expected("an expression");
  ExpressionPointer first = parse_expression(with_conditional);
  if (!tokens_.is_operator(",")) return first;
  ExpressionPointer tuple = make(ExpressionKind::kTuple, offset);
  add_operand(tuple.get(), std::move(first));
  while (tokens_.take_operator(",") && !is_end())
    add_operand(tuple.get(), parse_expression(with_conditional));
  return tuple;
}

ExpressionPointer ExpressionParser::parse_conditional() {
  ExpressionPointer value = parse_or();
  while (tokens_.is_name("if")) {
    ExpressionPointer conditional = make(ExpressionKind::kConditional, tokens_.take().offset);
    add_operand(conditional.get(), parse_or());
    add_operand(conditional.get(), std::move(value));
    add_operand(conditional.get(), tokens_.take_name("else") ? parse_expression() : nullptr);
    value = std::move(conditional);
  }
  return value;
}

ExpressionPointer ExpressionParser::parse_or() {
  ExpressionPointer left = parse_and();
  while (tokens_.is_name("or")) {
    ExpressionPointer made = make(ExpressionKind::kOr, tokens_.take().offset);
    left = with_operands(std::move(made), std::move(left), parse_and());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_and() {
  ExpressionPointer left = parse_not();
  while (tokens_.is_name("and")) {
    ExpressionPointer made = make(ExpressionKind::kAnd, tokens_.take().offset);
    left = with_operands(std::move(made), std::move(left), parse_not());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_not() {
  if (!tokens_.is_name("not")) return parse_compare();
  const Nested nested(*this);
  ExpressionPointer made = make(ExpressionKind::kNot, tokens_.take().offset);
  add_operand(made.get(), parse_not());
  return made;
}

ExpressionPointer ExpressionParser::parse_compare() {
  constexpr std::array kComparisons = {"==", "!=", "<", "<=", ">", ">="};
  ExpressionPointer first = parse_sum();
  ExpressionPointer compare;
  while (true) {
    std::string name;
    const size_t offset = tokens_.offset();
    if (tokens_.is(TokenKind::kOperator) && is_one_of(kComparisons, tokens_.current().text))
      name = tokens_.take().text;
    else if (tokens_.take_name("in"))
      name = "in";
    else if (tokens_.is_name("not") && tokens_.ahead().kind == TokenKind::kName &&
             tokens_.ahead().text == "in")
      tokens_.take(), tokens_.take(), name = "not in";
    else
      return compare ? std::move(compare) : std::move(first);
    if (!compare) {
      compare = make(ExpressionKind::kCompare, offset);
      add_operand(compare.get(), std::move(first));
    }
    compare->names.push_back(std::move(name));
    add_operand(compare.get(), parse_sum());
  }
}

ExpressionPointer ExpressionParser::parse_sum() {
  ExpressionPointer left = parse_concatenation();
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    ExpressionPointer made = make(ExpressionKind::kBinary, tokens_.offset());
    made->name = tokens_.take().text;
    left = with_operands(std::move(made), std::move(left), parse_concatenation());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_concatenation() {
  ExpressionPointer first = parse_product();
  if (!tokens_.is_operator("~")) return first;
  ExpressionPointer made = make(ExpressionKind::kConcatenate, tokens_.offset());
  add_operand(made.get(), std::move(first));
  while (tokens_.take_operator("~")) add_operand(made.get(), parse_product());
  return made;
}

ExpressionPointer ExpressionParser::parse_product() {
  constexpr std::array kProducts = {"*", "/", "//", "%"};
  ExpressionPointer left = parse_power();
  while (tokens_.is(TokenKind::kOperator) && is_one_of(kProducts, tokens_.current().text)) {
    ExpressionPointer made = make(ExpressionKind::kBinary, tokens_.offset());
    made->name = tokens_.take().text;
    left = with_operands(std::move(made), std::move(left), parse_power());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_power() {
  ExpressionPointer left = parse_unary(true);
  while (tokens_.is_operator("**")) {
    ExpressionPointer made = make(ExpressionKind::kBinary, tokens_.offset());
    made->name = tokens_.take().text;
    left = with_operands(std::move(made), std::move(left), parse_unary(true));
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_unary(bool with_filters) {
  const Nested nested(*this);
  ExpressionPointer value;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    value = make(ExpressionKind::kUnary, tokens_.offset());
    value->name = tokens_.take().text;
    add_operand(value.get(), parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  while (with_filters) {
    if (tokens_.is_operator("|"))
      value = parse_filters(std::move(value));
    else if (tokens_.is_name("is"))
      value = parse_test(std::move(value));
    else if (tokens_.is_operator("("))
      value = parse_call(std::move(value));
    else
      break;
  }
  return value;
}

ExpressionPointer ExpressionParser::parse_primary() {
  if (tokens_.is(TokenKind::kString)) return parse_strings();
  if (tokens_.is_operator("(")) return parse_parentheses();
  if (tokens_.is_operator("[")) return parse_list();
  if (tokens_.is_operator("{")) return parse_dict();
  if (!tokens_.is(TokenKind::kName) && !tokens_.is(TokenKind::kInteger) && !tokens_.is(TokenKind::kFloat))
    tokens_.fail_expected("an expression");
  const Token token = tokens_.take();
  ExpressionPointer constant = make(ExpressionKind::kConstant, token.offset);
  if (token.kind == TokenKind::kInteger)
    constant->value = Value::integer(token.integer);
  else if (token.kind == TokenKind::kFloat)
    constant->value = Value::number(token.number);
  else if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False")
    constant->value = Value::boolean(token.text[0] == 't' || token.text[0] == 'T');
  else if (token.text == "none" || token.text == "None")
    constant->value = Value::none();
  else
    return make_name(token);
  return constant;
}

ExpressionPointer ExpressionParser::parse_strings() {
  ExpressionPointer constant = make(ExpressionKind::kConstant, tokens_.offset());
  std::string joined;
  while (tokens_.is(TokenKind::kString)) joined += tokens_.take().text;
  constant->value = Value::text(std::move(joined));
  return constant;
}

ExpressionPointer ExpressionParser::parse_parentheses() {
  const size_t offset = tokens_.take().offset;
  if (tokens_.take_operator(")")) return make(ExpressionKind::kTuple, offset);
  ExpressionPointer inside = parse_tuple();
  tokens_.expect_operator(")");
  return inside;
}

ExpressionPointer ExpressionParser::parse_list() {
  ExpressionPointer list = make(ExpressionKind::kList, tokens_.take().offset);
  while (!tokens_.is_operator("]")) {
    if (!list->operands.empty()) tokens_.expect_operator(",");
    if (tokens_.is_operator("]")) break;
    add_operand(list.get(), parse_expression());
  }
  tokens_.take();
  return list;
}

ExpressionPointer ExpressionParser::parse_dict() {
  ExpressionPointer dict = make(ExpressionKind::kDict, tokens_.take().offset);
  while (!tokens_.is_operator("}")) {
    if (!dict->operands.empty()) tokens_.expect_operator(",");
    if (tokens_.is_operator("}")) break;
    add_operand(dict.get(), parse_expression());
    tokens_.expect_operator(":");
    add_operand(dict.get(), parse_expression());
  }
  tokens_.take();
  return dict;
}

void ExpressionParser::check(const std::set<std::string>& names_set) const {
  constexpr std::array kUnsupported = {"cycler", "joiner", "lipsum", "self", "varargs", "kwargs", "caller"};
  for (const auto& [name, offset] : names_)
    if (is_one_of(kUnsupported, name) && !names_set.contains(name))
      tokens_.fail(offset, fmt::format("\"{}\" is not supported", name));
}

}  // namespace longlora::jinja
