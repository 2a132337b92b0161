#include "longlora/jinja/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "longlora/core/utf8.h"
#include "longlora/jinja/evaluator_internal.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/print.h"

namespace longlora::jinja {

namespace {

constexpr int64_t kBytesPerByteOfData = 64;

}  // namespace

void Scope::set(const std::string& name, Value value) {
  for (auto& [known, old] : names)
    if (known == name) {
      old = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer.get())
    for (const auto& [known, value] : scope->names)
      if (known == name) return &value;
  return nullptr;
}

bool Loop::advance() {
  if (peek() == nullptr) return false;
  ++index0;
  before = std::exchange(current, *std::exchange(after, std::nullopt));
  return true;
}

const Value* Loop::peek() {
  while (!after && next < items.size()) {
    const Value& item = items[next++];
    if (!accepts || accepts(item)) after = item;
  }
  return after ? &*after : nullptr;
}

int64_t Loop::count() {
  if (length) return *length;
  Values rest;
  while (next < items.size()) {
    const Value& item = items[next++];
    if (!accepts || accepts(item)) rest.push_back(item);
  }
  accepts = nullptr;
  items = std::move(rest);
  next = 0;
  length = std::ssize(items) + index0 + 1 + (after ? 1 : 0);
  return *length;
}

std::optional<Value> Loop::attribute(std::string_view name) {
  if (name == "index") return Value::integer(index0 + 1);
  if (name == "index0") return Value::integer(index0);
  if (name == "first") return Value::boolean(index0 == 0);
  if (name == "last") return Value::boolean(peek() == nullptr);
  if (name == "length") return Value::integer(count());
  if (name == "revindex") return Value::integer(count() - index0);
  if (name == "revindex0") return Value::integer(count() - index0 - 1);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem") return index0 == 0 ? Value::undefined("there is no previous item") : before;
  if (name == "nextitem") return peek() == nullptr ? Value::undefined("there is no next item") : *peek();
  return std::nullopt;
}

Evaluator::Evaluator(const Variables& variables, const RenderOptions& options)
    : variables_(variables),
      options_(options),
      steps_left_(options.limits.steps),
      bytes_left_(options.limits.bytes),
      scope_(std::make_shared<Scope>(nullptr)) {
  for (const auto& [name, value] : variables) {
    steps_left_ += value.weight();
    bytes_left_ += kBytesPerByteOfData * value.weight();
  }
}

Evaluator::~Evaluator() {
  for (const auto& made : namespaces_) made->attributes.clear();
  for (const auto& scope : scopes_of_macros_) scope->names.clear();
}

Rendered Evaluator::run(const Block& block) {
  execute(block);
  return std::move(rendered_);
}

void Evaluator::charge_steps(int64_t steps) {
  steps_left_ -= steps;
  if (steps_left_ < 0)
    throw Fault(fmt::format("expected a template that ends within {} steps, got one that goes on",
                            options_.limits.steps));
}

void Evaluator::charge_bytes(int64_t bytes) {
  bytes_left_ -= bytes;
  if (bytes_left_ < 0)
    throw Fault(fmt::format("expected a template that works on at most {} bytes, got one that works on more",
                            options_.limits.bytes));
}

Value Evaluator::make_namespace() {
  auto made = std::make_shared<Namespace>();
  namespaces_.push_back(made);
  return Value::object(Kind::kNamespace, std::move(made));
}

Values Evaluator::iterate(const Value& value) {
  if (value.is_undefined()) return {};
  if (value.is_sequence()) {
    charge_bytes(std::ssize(value.items()) * 32);
    return value.take_items();
  }
  Values items;
  if (value.is(Kind::kDict)) {
    charge_bytes(std::ssize(value.entries()) * 32);
    for (const auto& [key, item] : value.entries()) items.push_back(key);
    return items;
  }
  if (!value.is_text()) throw Fault(fmt::format("expected something with items, got {}", value.type_name()));
  const Text& text = value.as_text();
  charge_bytes(static_cast<int64_t>(text.size()) * 128);  // each character becomes a value
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    next_character(text.bytes(), at);
    items.push_back(Value::text(text.part(begin, at)));
  }
  return items;
}

Evaluator::Flow Evaluator::execute(const Block& block) {
  for (const Statement& statement : block)
    if (const Flow flow = execute(statement); flow != Flow::kNext) return flow;
  return Flow::kNext;
}

Evaluator::Flow Evaluator::execute(const Statement& statement) {
  const Nested nested(*this);
  place_ = statement.offset;
  charge_steps(1);
  switch (statement.kind) {
    case StatementKind::kData:
      charge_bytes(std::ssize(statement.text));
      output_->append(statement.text);
      return Flow::kNext;
    case StatementKind::kOutput:
      write(evaluate(*statement.expression));
      return Flow::kNext;
    case StatementKind::kIf:
      return execute_if(statement);
    case StatementKind::kFor:
      return execute_for(statement);
    case StatementKind::kSet:
      execute_set(statement);
      return Flow::kNext;
    case StatementKind::kSetBlock:
      return execute_set_block(statement);
    case StatementKind::kMacro:
      execute_macro(statement);
      return Flow::kNext;
    case StatementKind::kGeneration:
      execute_generation(statement);
      return Flow::kNext;
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Evaluator::write(const Value& value) {
  if (value.is_text()) {
    charge_bytes(std::ssize(value.bytes()));
    output_->append(value.as_text());
  } else {
    output_->append(to_text(*this, value));
  }
}

Evaluator::Flow Evaluator::execute_if(const Statement& statement) {
  for (const Branch& branch : statement.branches)
    if (branch.condition == nullptr || evaluate(*branch.condition).is_true()) return execute(branch.body);
  return Flow::kNext;
}

Evaluator::Flow Evaluator::execute_for(const Statement& statement) {
  const auto loop = std::make_shared<Loop>();
  loop->items = iterate(evaluate(*statement.expression));
  const std::shared_ptr<Scope> around = scope_;
  if (statement.condition)
    loop->accepts = [&](const Value& item) {
      const Replaced inside(scope_, std::make_shared<Scope>(around));
      assign(statement.target, item);
      return evaluate(*statement.condition).is_true();
    };
  const Value loop_value = Value::object(Kind::kLoop, loop);
  bool completed_one = false;
  Flow flow = Flow::kNext;
  while (flow != Flow::kBreak && loop->advance()) {
    charge_steps(1);
    const Replaced inside(scope_, std::make_shared<Scope>(around));
    scope_->set("loop", loop_value);
    assign(statement.target, loop->current);
    flow = execute(statement.body);
    if (flow == Flow::kNext) completed_one = true;
  }
  loop->accepts = nullptr;                // it must not be called when this function has returned
  if (completed_one) return Flow::kNext;  // jinja2's "else" asks for that, and not for an item
  const Replaced inside(scope_, std::make_shared<Scope>(around));
  return execute(statement.otherwise);
}

void Evaluator::execute_set(const Statement& statement) {
  assign(statement.target, evaluate(*statement.expression));
}

Evaluator::Flow Evaluator::execute_set_block(const Statement& statement) {
  Text written;
  Value value;
  {
    const Replaced inside(scope_, std::make_shared<Scope>(scope_));
    {
      const Replaced captured(output_, &written);
      if (const Flow flow = execute(statement.body); flow != Flow::kNext) return flow;
    }
    value = Value::text(std::move(written));
    std::vector<const Expression*> filters;  // the last one first
    for (const Expression* next = statement.expression.get(); next != nullptr && next->filter != nullptr;
         next = next->operands[0].get())
      filters.push_back(next);
    for (auto next = filters.rbegin(); next != filters.rend(); ++next) value = filter(**next, value);
  }
  assign(statement.target, value);
  return Flow::kNext;
}

void Evaluator::execute_macro(const Statement& statement) {
  auto macro = std::make_shared<Macro>();
  macro->statement = &statement;
  macro->scope = scope_;
  scopes_of_macros_.push_back(scope_);
  scope_->set(statement.name, Value::object(Kind::kMacro, std::move(macro)));
}

void Evaluator::execute_generation(const Statement& statement) {
  if (output_ != &rendered_.text)
    throw Fault("expected {% generation %} where the template writes, got it in a macro or a set block");
  const size_t begin = output_->size();
  {
    const Replaced inside(scope_, std::make_shared<Scope>(scope_));
    execute(statement.body);
  }
  rendered_.generated.push_back({begin, output_->size()});
}

void Evaluator::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const Values items = iterate(value);
    if (items.size() != target.parts.size())
      throw Fault(fmt::format("expected {} values to set {} names, got {}", target.parts.size(),
                              target.parts.size(), items.size()));
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
    return;
  }
  if (target.attribute.empty()) return scope_->set(target.name, value);
  const Value* space = scope_->find(target.name);
  if (space == nullptr || !space->is(Kind::kNamespace))
    throw Fault(fmt::format("expected \"{}\" to be a namespace, whose attributes can be set", target.name));
  if (target.attribute.starts_with('_'))
    throw Fault(fmt::format("expected an attribute without \"_\" in front, got \"{}\"", target.attribute));
  space->as<Namespace>().set(target.attribute, value);
}

}  // namespace longlora::jinja
