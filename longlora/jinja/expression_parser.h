// Parses the expressions of templates, with Python's precedences as jinja2 has them. Internal to this room.
#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/jinja/syntax.h"
#include "longlora/jinja/token_stream.h"

namespace longlora::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  /// Parses one expression. Without `with_conditional` an "if" ends it.
  ExpressionPointer parse_expression(bool with_conditional = true);
  /// Parses one expression, or several with commas between them, which make a tuple. A name among `ends` ends
  /// it.
  ExpressionPointer parse_tuple(bool with_conditional = true,
                                std::initializer_list<std::string_view> ends = {});
  /// Parses the filters |a|b(c) that stand here, with `subject` as what they work on.
  ExpressionPointer parse_filters(ExpressionPointer subject);
  /// Makes an expression that reads a name, and notes the name for check().
  ExpressionPointer make_name(const Token& token);

  /// Throws InputError where a name was read that is one of jinja2's functions which are not supported,
  /// unless the template sets that name itself.
  void check(const std::set<std::string>& names_set) const;

 private:
  class Nested;

  ExpressionPointer make(ExpressionKind kind, size_t offset) const;
  void count_levels(Expression* parent, const ExpressionPointer& child) const;
  void add_operand(Expression* parent, ExpressionPointer child) const;
  ExpressionPointer with_operands(ExpressionPointer made, ExpressionPointer left,
                                  ExpressionPointer right) const;
  ExpressionPointer parse_conditional();
  ExpressionPointer parse_or();
  ExpressionPointer parse_and();
  ExpressionPointer parse_not();
  ExpressionPointer parse_compare();
  ExpressionPointer parse_sum();
  ExpressionPointer parse_concatenation();
  ExpressionPointer parse_product();
  ExpressionPointer parse_power();
  ExpressionPointer parse_unary(bool with_filters);
  ExpressionPointer parse_primary();
  ExpressionPointer parse_strings();
  ExpressionPointer parse_parentheses();
  ExpressionPointer parse_list();
  ExpressionPointer parse_dict();
  ExpressionPointer parse_postfix(ExpressionPointer subject);
  ExpressionPointer parse_dot(ExpressionPointer subject);
  ExpressionPointer parse_subscript(ExpressionPointer subject);
  ExpressionPointer parse_call(ExpressionPointer callee);
  ExpressionPointer parse_one_filter(ExpressionPointer subject);
  ExpressionPointer parse_test(ExpressionPointer subject);
  void parse_arguments(Expression* call);
  void check_named_by_text(const Expression& filter) const;
  bool test_argument_follows() const;

  TokenStream& tokens_;
  int depth_ = 0;
  std::vector<std::pair<std::string, size_t>> names_;
};

}  // namespace longlora::jinja
