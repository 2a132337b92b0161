#include "longlora/jinja/parser.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>

#include "longlora/jinja/expression_parser.h"

namespace longlora::jinja {

namespace {

constexpr int kMaxBlocks = 100;  // nested in each other

// Parses the statements of a template.
class Parser {
 public:
  explicit Parser(const Source& source) : tokens_(source), expressions_(tokens_) {}

  Block run() {
    Block body = parse_block({});
    expressions_.check(names_set_);
    return body;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Parses statements up to a tag of one of the names, whose name is the current token afterwards, or without
  // names up to the end of the template.
  Block parse_block(Ends ends) {
    if (++depth_ > kMaxBlocks)
      tokens_.fail(tokens_.offset(),
                   fmt::format("expected tags nested at most {} deep, got more", kMaxBlocks));
    Block body;
    while (true) {
      if (tokens_.is(TokenKind::kData)) {
        Statement& data = add(body, StatementKind::kData);
        data.text = tokens_.take().text;
      } else if (tokens_.is(TokenKind::kOutput)) {
        tokens_.take();
        Statement& output = add(body, StatementKind::kOutput);
        output.expression = expressions_.parse_tuple();
        tokens_.expect(TokenKind::kEndOutput, "\"}}\"");
      } else if (tokens_.is(TokenKind::kTag)) {
        tokens_.take();
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return tokens_.is_name(end); })) break;
        parse_statement(body);
        end_tag();
      } else if (ends.size() == 0) {
        break;
      } else {
        tokens_.fail_expected(fmt::format("{{% {} %}}", fmt::join(ends, " or ")));
      }
    }
    --depth_;
    return body;
  }

  Statement& add(Block& body, StatementKind kind) {
    body.emplace_back();
    body.back().kind = kind;
    body.back().offset = tokens_.offset();
    return body.back();
  }

  void end_tag() { tokens_.expect(TokenKind::kEndTag, "\"%}\""); }

  // Parses the block behind a tag that ends here, and takes the name of the tag that ends the block.
  Block parse_body(std::string_view end) {
    Block body = begin_body({end});
    tokens_.take();
    return body;
  }

  Block begin_body(Ends ends) {
    tokens_.take_operator(":");
    end_tag();
    return parse_block(ends);
  }

  void parse_statement(Block& body) {
    const Token tag = tokens_.expect(TokenKind::kName, "the name of a tag");
    if (tag.text == "if")
      parse_if(add(body, StatementKind::kIf));
    else if (tag.text == "for")
      parse_for(add(body, StatementKind::kFor));
    else if (tag.text == "set")
      parse_set(add(body, StatementKind::kSet));
    else if (tag.text == "macro")
      parse_macro(add(body, StatementKind::kMacro));
    else if (tag.text == "generation")
      parse_generation(add(body, StatementKind::kGeneration));
    else if (tag.text == "break" || tag.text == "continue")
      parse_jump(body, tag);
    else
      tokens_.fail(tag.offset,
                   fmt::format("expected one of the tags break, continue, for, generation, if, macro, "
                               "raw, set, got \"{}\", which is not supported here",
                               tag.text));
  }

  void parse_jump(Block& body, const Token& tag) {
    add(body, tag.text == "break" ? StatementKind::kBreak : StatementKind::kContinue);
    if (num_loops_ == 0)
      tokens_.fail(tag.offset, fmt::format("expected \"{}\" inside a loop, got it outside", tag.text));
  }

  void parse_if(Statement& statement) {
    while (true) {
      Branch branch;
      branch.condition = expressions_.parse_tuple(false);
      branch.body = begin_body({"elif", "else", "endif"});
      statement.branches.push_back(std::move(branch));
      const std::string end = tokens_.take().text;
      if (end == "endif") return;
      if (end == "elif") continue;
      statement.branches.push_back({nullptr, parse_body("endif")});
      return;
    }
  }

  void parse_for(Statement& statement) {
    statement.target = parse_target(false);
    tokens_.expect_name("in");
    statement.expression = expressions_.parse_tuple(false, {"recursive"});
    if (tokens_.take_name("if")) statement.condition = expressions_.parse_expression();
    if (tokens_.is_name("recursive")) tokens_.fail(tokens_.offset(), "\"recursive\" is not supported");
    ++num_loops_;
    statement.body = begin_body({"endfor", "else"});
    --num_loops_;
    if (tokens_.take().text == "else") statement.otherwise = parse_body("endfor");
  }

  void parse_set(Statement& statement) {
    statement.target = parse_target(true);
    if (tokens_.take_operator("=")) {
      statement.expression = expressions_.parse_tuple();
      return;
    }
    statement.kind = StatementKind::kSetBlock;
    if (tokens_.is_operator("|")) {
      // An empty expression stands for what the block writes.
      auto written = std::make_unique<Expression>();
      written->offset = tokens_.offset();
      statement.expression = expressions_.parse_filters(std::move(written));
    }
    statement.body = parse_body("endset");
  }

  void parse_macro(Statement& statement) {
    statement.name = tokens_.expect(TokenKind::kName, "the name of a macro").text;
    names_set_.insert(statement.name);
    tokens_.expect_operator("(");
    while (!tokens_.take_operator(")")) {
      if (!statement.parameters.empty()) tokens_.expect_operator(",");
      Parameter parameter;
      const Token name = tokens_.expect(TokenKind::kName, "the name of a parameter");
      parameter.name = name.text;
      if (tokens_.take_operator("="))
        parameter.fallback = expressions_.parse_expression();
      else if (!statement.parameters.empty() && statement.parameters.back().fallback)
        tokens_.fail(name.offset, "expected parameters without a default before those with one");
      names_set_.insert(parameter.name);
      statement.parameters.push_back(std::move(parameter));
    }
    const int num_loops = std::exchange(num_loops_, 0);
    statement.body = parse_body("endmacro");
    num_loops_ = num_loops;
  }

  void parse_generation(Statement& statement) {
    const int num_loops = std::exchange(num_loops_, 0);
    statement.body = parse_body("endgeneration");
    num_loops_ = num_loops;
  }

  Target parse_target(bool may_be_attribute) {
    Target first = parse_target_part(may_be_attribute);
    if (!tokens_.is_operator(",")) return first;
    Target tuple;
    tuple.offset = first.offset;
    tuple.parts.push_back(std::move(first));
    while (tokens_.take_operator(",") && (tokens_.is(TokenKind::kName) || tokens_.is_operator("(")) &&
           !tokens_.is_name("in"))
      tuple.parts.push_back(parse_target_part(may_be_attribute));
    return tuple;
  }

  Target parse_target_part(bool may_be_attribute) {
    if (tokens_.take_operator("(")) {
      if (++depth_ > kMaxBlocks) tokens_.fail(tokens_.offset(), "expected fewer parentheses");
      Target inside = parse_target(may_be_attribute);
      --depth_;
      tokens_.expect_operator(")");
      return inside;
    }
    Target target;
    const Token name = tokens_.expect(TokenKind::kName, "a name to set");
    target.offset = name.offset;
    target.name = name.text;
    constexpr std::array kConstants = {"true", "True", "false", "False", "none", "None"};
    if (std::find(kConstants.begin(), kConstants.end(), name.text) != kConstants.end())
      tokens_.fail(name.offset, fmt::format("expected a name to set, got \"{}\"", name.text));
    if (may_be_attribute && tokens_.take_operator(".")) {
      target.attribute = tokens_.expect(TokenKind::kName, "the name of an attribute").text;
      return target;
    }
    if (name.text == "loop" && (num_loops_ > 0 || !may_be_attribute))
      tokens_.fail(name.offset, "expected a name to set, got \"loop\", which is the loop's own");
    names_set_.insert(name.text);
    return target;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  std::set<std::string> names_set_;
  int depth_ = 0;
  int num_loops_ = 0;
};

}  // namespace

Block parse(const Source& source) {
  return Parser(source).run();
}

}  // namespace longlora::jinja
