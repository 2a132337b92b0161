// Declares the filters, tests, methods and functions of templates. Internal to this room.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/jinja/value.h"

namespace longlora::jinja {

class Evaluator;

/// The arguments of one call.
struct Arguments {
  Values positional = {};
  std::vector<std::pair<std::string, Value>> named = {};

  /// Returns the arguments in the order of `names`, nullopt for each that was left out. Throws Fault for more
  /// arguments than names, and for a name that is not among them.
  std::vector<std::optional<Value>> bind(std::initializer_list<std::string_view> names) const;
};

/// Functions that work on one value. They charge what they do to the evaluator's budget, and throw Fault.
using FilterFunction = Value (*)(Evaluator&, const Value& subject, const Arguments&);
using TestFunction = bool (*)(Evaluator&, const Value& subject, const Arguments&);
using MethodFunction = FilterFunction;
using GlobalFunction = Value (*)(Evaluator&, const Arguments&);

/// Each returns null for a name that nothing has.
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);
GlobalFunction find_global(std::string_view name);
/// Each lists all names, for messages.
std::string filter_names();
std::string test_names();

/// Whether some kind of value has a method of that name.
bool is_method(std::string_view name);
std::string method_names();
/// Returns the method of `self` as a value, or nullopt where the kind of `self` has no method of that name.
std::optional<Value> find_method(const Value& self, std::string_view name);

/// A method with the value that it belongs to.
struct Method : Object {
  Value self;
  MethodFunction function = nullptr;
};

struct Function : Object {
  GlobalFunction function = nullptr;
};

}  // namespace longlora::jinja
