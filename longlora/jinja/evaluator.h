// Runs a parsed template. Internal to this room.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/jinja/syntax.h"
#include "longlora/jinja/template.h"

namespace longlora::jinja {

/// The names that were set in one block. Names of the blocks around it are found through `outer`.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> around) : outer(std::move(around)) {}
  void set(const std::string& name, Value value);
  const Value* find(std::string_view name) const;

  std::vector<std::pair<std::string, Value>> names;
  std::shared_ptr<Scope> outer;
};

/// A function that the template defines, with the names that it sees.
struct Macro : Object {
  const Statement* statement = nullptr;
  std::shared_ptr<Scope> scope;
};

/// The variable `loop`. The next item is looked for only when it is needed, because a loop's condition may
/// read what the loop's body sets.
struct Loop : Object {
  Values items;
  size_t next = 0;  // in `items`
  std::function<bool(const Value&)> accepts;
  std::optional<Value> after;  // looked for already
  Value before, current;
  int64_t index0 = -1;
  std::optional<int64_t> length;
  std::optional<Values> last_changed;

  bool advance();
  /// Returns the next item without going on to it, or null where the current one is the last.
  const Value* peek();
  int64_t count();
  /// Returns the value of index, first, last and so on, or nullopt for a name that `loop` does not have.
  std::optional<Value> attribute(std::string_view name);
};

class Evaluator {
 public:
  Evaluator(const Variables& variables, const RenderOptions& options);
  /// Breaks the circles in which namespaces and macros hold each other, so that they are freed.
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  Rendered run(const Block& block);
  /// The byte of the source at which the latest work was done.
  size_t place() const { return place_; }

  /// Each takes from the budget, and throws Fault when it is used up.
  void charge_steps(int64_t steps);
  void charge_bytes(int64_t bytes);
  const std::tm& now() const { return options_.now; }

  /// Returns what Python's iter() goes through: the items of a sequence, the characters of a text, the keys
  /// of a dictionary. Throws Fault for what has no items.
  Values iterate(const Value& value);
  /// Each looks up subject[key] or subject.name as jinja2 does, and returns an undefined value where there is
  /// nothing. Each throws Fault for a subject that is undefined itself.
  Value get_item(const Value& subject, const Value& key);
  Value get_attribute(const Value& subject, const std::string& name);
  Value make_namespace();

 private:
  enum class Flow { kNext, kBreak, kContinue };

  class Nested;

  Flow execute(const Block& block);
  Flow execute(const Statement& statement);
  Flow execute_if(const Statement& statement);
  Flow execute_for(const Statement& statement);
  void execute_set(const Statement& statement);
  Flow execute_set_block(const Statement& statement);
  void execute_macro(const Statement& statement);
  void execute_generation(const Statement& statement);
  void assign(const Target& target, const Value& value);
  void write(const Value& value);

  Value evaluate(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_test(const Expression& expression);
  Value evaluate_conditional(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_concatenation(const Expression& expression);
  Values evaluate_all(const std::vector<ExpressionPointer>& expressions);
  Arguments evaluate_arguments(const Expression& expression);
  Value filter(const Expression& expression, const Value& subject);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  void bind_parameters(const Statement& statement, const Arguments& arguments);

  const Variables& variables_;
  const RenderOptions& options_;
  int64_t steps_left_;
  int64_t bytes_left_;
  int depth_ = 0;
  size_t place_ = 0;
  std::shared_ptr<Scope> scope_;
  Rendered rendered_;
  Text* output_ = &rendered_.text;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<Scope>> scopes_of_macros_;
};

}  // namespace longlora::jinja
