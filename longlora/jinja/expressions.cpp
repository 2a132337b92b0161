// Evaluates expressions.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/evaluator_internal.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/operators.h"
#include "longlora/jinja/print.h"

namespace longlora::jinja {

Value Evaluator::evaluate(const Expression& expression) {
  const Nested nested(*this);
  charge_steps(1);
  place_ = expression.offset;
  const auto operand = [&](size_t index) { return evaluate(*expression.operands[index]); };
  const auto at = [&](Value value) {
    place_ = expression.offset;  // what follows fails here, not in an operand
    return value;
  };
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.value;
    case ExpressionKind::kName:
      return evaluate_name(expression);
    case ExpressionKind::kList:
      return Value::sequence(Kind::kList, evaluate_all(expression.operands));
    case ExpressionKind::kTuple:
      return Value::sequence(Kind::kTuple, evaluate_all(expression.operands));
    case ExpressionKind::kDict:
      return evaluate_dict(expression);
    case ExpressionKind::kAttribute:
      return get_attribute(at(operand(0)), expression.name);
    case ExpressionKind::kItem: {
      const Value subject = operand(0);
      return get_item(subject, at(operand(1)));
    }
    case ExpressionKind::kSlice:
      return evaluate_slice(expression);
    case ExpressionKind::kCall:
      return evaluate_call(expression);
    case ExpressionKind::kFilter:
      return filter(expression, operand(0));
    case ExpressionKind::kTest:
      return evaluate_test(expression);
    case ExpressionKind::kNot:
      return Value::boolean(!operand(0).is_true());
    case ExpressionKind::kAnd: {
      Value left = operand(0);
      return left.is_true() ? operand(1) : left;
    }
    case ExpressionKind::kOr: {
      Value left = operand(0);
      return left.is_true() ? left : operand(1);
    }
    case ExpressionKind::kConditional:
      return evaluate_conditional(expression);
    case ExpressionKind::kCompare:
      return evaluate_compare(expression);
    case ExpressionKind::kConcatenate:
      return evaluate_concatenation(expression);
    case ExpressionKind::kBinary: {
      const Value left = operand(0);
      return binary(*this, expression.name, left, at(operand(1)));
    }
    case ExpressionKind::kUnary: {
      const Value value = at(operand(0));
      return expression.name == "-" ? negated(value) : negated(negated(value));
    }
  }
  return {};
}

Value Evaluator::evaluate_test(const Expression& expression) {
  const Value subject = evaluate(*expression.operands[0]);
  const Arguments arguments = evaluate_arguments(expression);
  place_ = expression.offset;
  return Value::boolean(expression.test(*this, subject, arguments));
}

Value Evaluator::evaluate_conditional(const Expression& expression) {
  if (evaluate(*expression.operands[0]).is_true()) return evaluate(*expression.operands[1]);
  if (expression.operands[2] != nullptr) return evaluate(*expression.operands[2]);
  return Value::undefined("an \"if\" without \"else\" was false");
}

Values Evaluator::evaluate_all(const std::vector<ExpressionPointer>& expressions) {
  Values values;
  values.reserve(expressions.size());
  for (const ExpressionPointer& expression : expressions) values.push_back(evaluate(*expression));
  charge_bytes(std::ssize(values) * 32);
  return values;
}

Value Evaluator::evaluate_name(const Expression& expression) {
  if (const Value* found = scope_->find(expression.name)) return *found;
  for (const auto& [name, value] : variables_)
    if (name == expression.name) return value;
  if (const GlobalFunction function = find_global(expression.name)) {
    auto made = std::make_shared<Function>();
    made->function = function;
    return Value::object(Kind::kFunction, std::move(made));
  }
  return Value::undefined(fmt::format("\"{}\" is undefined", expression.name));
}

Value Evaluator::evaluate_dict(const Expression& expression) {
  Entries entries;
  for (size_t i = 0; i < expression.operands.size(); i += 2) {
    Value key = evaluate(*expression.operands[i]);
    check_hashable(key);
    entries.emplace_back(std::move(key), evaluate(*expression.operands[i + 1]));
  }
  const auto count = static_cast<int64_t>(entries.size());
  charge_bytes(count * count);  // each key is compared with those before it
  return Value::dict(std::move(entries));
}

Value Evaluator::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.operands[0]);
  for (size_t i = 0; i < expression.names.size(); ++i) {
    Value right = evaluate(*expression.operands[i + 1]);
    place_ = expression.offset;
    if (!compares(*this, expression.names[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Evaluator::evaluate_slice(const Expression& expression) {
  const Value subject = evaluate(*expression.operands[0]);
  std::optional<Value> parts[3];
  for (size_t i = 0; i < 3; ++i)
    if (expression.operands[i + 1] != nullptr) parts[i] = evaluate(*expression.operands[i + 1]);
  place_ = expression.offset;
  const auto pointer = [](const std::optional<Value>& part) {
    return part && !part->is(Kind::kNone) ? &*part : nullptr;
  };
  return slice(*this, subject, pointer(parts[0]), pointer(parts[1]), pointer(parts[2]));
}

Value Evaluator::evaluate_concatenation(const Expression& expression) {
  Text joined;
  for (const ExpressionPointer& operand : expression.operands) {
    const Value value = evaluate(*operand);
    if (value.is_text())
      joined.append(value.as_text());
    else
      joined.append(to_text(*this, value));
    charge_bytes(std::ssize(joined.bytes()));
  }
  return Value::text(std::move(joined));
}

Arguments Evaluator::evaluate_arguments(const Expression& expression) {
  Arguments arguments;
  arguments.positional = evaluate_all(expression.arguments);
  for (const auto& [name, value] : expression.keywords) arguments.named.emplace_back(name, evaluate(*value));
  return arguments;
}

Value Evaluator::filter(const Expression& expression, const Value& subject) {
  const Arguments arguments = evaluate_arguments(expression);
  place_ = expression.offset;
  constexpr std::array kForSafe = {"count", "d", "default", "length", "safe", "string", "tojson"};
  if (subject.is_safe_text() &&
      std::find(kForSafe.begin(), kForSafe.end(), expression.name) == kForSafe.end())
    fail_safe();
  return expression.filter(*this, subject, arguments);
}

Value Evaluator::evaluate_call(const Expression& expression) {
  const Value callee = evaluate(*expression.operands[0]);
  const Arguments arguments = evaluate_arguments(expression);
  place_ = expression.offset;
  switch (callee.kind()) {
    case Kind::kMethod: {
      const auto& method = callee.as<Method>();
      return method.function(*this, method.self, arguments);
    }
    case Kind::kFunction:
      return callee.as<Function>().function(*this, arguments);
    case Kind::kMacro:
      return call_macro(callee.as<Macro>(), arguments);
    case Kind::kUndefined:
      throw Fault(callee.undefined_message());
    default:
      throw Fault(fmt::format("expected a function to call, got {}", callee.type_name()));
  }
}

Value Evaluator::call_macro(const Macro& macro, const Arguments& arguments) {
  const Statement& statement = *macro.statement;
  Text written;
  {
    const Replaced inside(scope_, std::make_shared<Scope>(macro.scope));
    const Replaced captured(output_, &written);
    bind_parameters(statement, arguments);
    execute(statement.body);
  }
  return Value::text(std::move(written));
}

void Evaluator::bind_parameters(const Statement& statement, const Arguments& arguments) {
  const auto& parameters = statement.parameters;
  if (arguments.positional.size() > parameters.size())
    throw Fault(fmt::format("expected at most {} arguments for \"{}\", got {}", parameters.size(),
                            statement.name, arguments.positional.size()));
  size_t used = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == parameter.name; });
    Value value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (named != arguments.named.end()) {
      value = named->second;
      ++used;
    } else if (parameter.fallback) {
      value = evaluate(*parameter.fallback);
    } else {
      value = Value::undefined(fmt::format("parameter \"{}\" was not given", parameter.name));
    }
    scope_->set(parameter.name, value);
  }
  if (used < arguments.named.size())
    throw Fault(fmt::format("expected arguments that \"{}\" has, got another or one twice", statement.name));
}

namespace {

// Whether the sandbox refuses an attribute of this name.
bool is_refused(std::string_view name) {
  return name.starts_with('_');
}

}  // namespace

Value Evaluator::get_attribute(const Value& subject, const std::string& name) {
  if (subject.is_undefined()) throw Fault(subject.undefined_message());
  const auto missing = [&] {
    return Value::undefined(fmt::format("a {} has no \"{}\"", subject.type_name(), name));
  };
  if (subject.is(Kind::kLoop))
    if (auto value = subject.as<Loop>().attribute(name)) return *std::move(value);
  if (subject.is(Kind::kNamespace)) {
    const Value* value = subject.as<Namespace>().find(name);
    return value != nullptr ? *value : missing();
  }
  if (auto method = find_method(subject, name)) return *std::move(method);
  if (!subject.is(Kind::kDict) || is_refused(name)) return missing();
  charge_bytes(std::ssize(subject.entries()));
  const Value* value = subject.find(name);
  return value != nullptr ? *value : missing();
}

Value Evaluator::get_item(const Value& subject, const Value& key) {
  if (subject.is_undefined()) throw Fault(subject.undefined_message());
  if (subject.is(Kind::kDict)) {
    charge_bytes(std::ssize(subject.entries()));
    if (const Value* value = subject.find(key)) return *value;
  } else if (key.is_integral() && subject.is_indexed()) {
    if (const Value* value = find_index(subject, key.as_integer())) return *value;
  } else if (key.is_integral() && subject.is_text()) {
    const Value* none = nullptr;
    const Value end = Value::integer(key.as_integer() == -1 ? INT64_MAX : key.as_integer() + 1);
    Value character = slice(*this, subject, &key, &end, none);
    if (!character.bytes().empty()) return character;
  }
  // For subject[key] the keys of a dictionary go before its methods.
  if (key.is_text()) {
    if (subject.is(Kind::kNamespace) || subject.is(Kind::kLoop)) return get_attribute(subject, key.bytes());
    if (auto method = find_method(subject, key.bytes())) return *std::move(method);
  }
  return Value::undefined(fmt::format("a {} has no such item", subject.type_name()));
}

}  // namespace longlora::jinja
