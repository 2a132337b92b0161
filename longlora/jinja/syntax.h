// What a parsed template is made of. Internal to this room.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "longlora/jinja/builtins.h"
#include "longlora/jinja/value.h"

namespace longlora::jinja {

enum class ExpressionKind {
  kConstant,     // value
  kName,         // name
  kList,         // operands
  kTuple,        // operands
  kDict,         // operands: key, value, key, value …
  kAttribute,    // operands[0].name
  kItem,         // operands[0][operands[1]]
  kSlice,        // operands[0][operands[1]:operands[2]:operands[3]], parts may be null
  kCall,         // operands[0](arguments)
  kFilter,       // operands[0]|name(arguments)
  kTest,         // operands[0] is name(arguments)
  kNot,          // not operands[0]
  kAnd,          // operands[0] and operands[1]
  kOr,           // operands[0] or operands[1]
  kConditional,  // operands[1] if operands[0] else operands[2], which may be null
  kCompare,      // operands[0] names[0] operands[1] names[1] operands[2] …
  kConcatenate,  // operands[0] ~ operands[1] ~ …
  kBinary,       // operands[0] name operands[1]: + - * / // % **
  kUnary,        // name operands[0]: + -
};

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  size_t offset = 0;  // in the source, for messages
  int levels = 1;     // of expressions, this one included
  std::string name = {};
  Value value = {};
  std::vector<ExpressionPointer> operands = {};
  std::vector<std::string> names = {};
  std::vector<ExpressionPointer> arguments = {};
  std::vector<std::pair<std::string, ExpressionPointer>> keywords = {};
  FilterFunction filter = nullptr;
  TestFunction test = nullptr;
};

/// What an assignment sets: a name, an attribute of a namespace, or a tuple of such targets.
struct Target {
  size_t offset = 0;
  std::string name = {};
  std::string attribute = {};      // of the namespace `name`
  std::vector<Target> parts = {};  // of a tuple, which has no name
};

enum class StatementKind {
  kData,        // text
  kOutput,      // expression
  kIf,          // branches; the last one's condition is null for else
  kFor,         // target, expression, condition (may be null), body, otherwise
  kSet,         // target, expression
  kSetBlock,    // target, body, filters of what it writes in expression (may be null)
  kMacro,       // name, parameters, body
  kGeneration,  // body
  kBreak,
  kContinue,
};

struct Statement;
using Block = std::vector<Statement>;

struct Branch {
  ExpressionPointer condition;
  Block body;
};

struct Parameter {
  std::string name;
  ExpressionPointer fallback;  // null where there is none
};

struct Statement {
  StatementKind kind = StatementKind::kData;
  size_t offset = 0;
  std::string text = {};
  std::string name = {};
  Target target = {};
  ExpressionPointer expression = {};
  ExpressionPointer condition = {};
  std::vector<Branch> branches = {};
  std::vector<Parameter> parameters = {};
  Block body = {};
  Block otherwise = {};
};

}  // namespace longlora::jinja
