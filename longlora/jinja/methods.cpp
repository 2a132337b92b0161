#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "longlora/jinja/builtins.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/operators.h"
#include "longlora/jinja/print.h"
#include "longlora/jinja/text_functions.h"
#include "longlora/jinja/text_methods.h"

namespace longlora::jinja {

namespace {

using Bound = std::vector<std::optional<Value>>;

// ---- Of dictionaries and lists

Value get(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"key", "default"});
  if (!bound[0]) throw Fault("expected a key, got nothing");
  evaluator.charge_bytes(std::ssize(self.entries()) * 4);
  check_hashable(*bound[0]);
  const Value* value = self.find(*bound[0]);
  return value != nullptr ? *value : bound[1].value_or(Value::none());
}

// A copy could not be changed any more than the value itself, which therefore stands for its copy.
Value copy(Evaluator&, const Value& self, const Arguments& arguments) {
  arguments.bind({});
  return self;
}

enum class Part { kItems, kKeys, kValues };

template <Part WantedPart>
Value view(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  arguments.bind({});
  evaluator.charge_bytes(std::ssize(self.entries()) * 128);
  Values items;
  for (const auto& [key, value] : self.entries())
    items.push_back(WantedPart == Part::kItems ? Value::sequence(Kind::kTuple, {key, value})
                                               : (WantedPart == Part::kKeys ? key : value));
  const char* name = WantedPart == Part::kItems  ? "dict_items"
                     : WantedPart == Part::kKeys ? "dict_keys"
                                                 : "dict_values";
  return Value::sequence(Kind::kView, std::move(items), name);
}

template <bool Counts>
Value look_for(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"value"});
  if (!bound[0]) throw Fault("expected a value to look for, got nothing");
  const Values& items = self.items();
  int64_t count = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    evaluator.charge_bytes(std::min(items[i].weight(), bound[0]->weight()));
    if (!are_equal(items[i], *bound[0])) continue;
    if (!Counts) return Value::integer(static_cast<int64_t>(i));
    ++count;
  }
  if (!Counts) throw Fault("expected a list that holds the value looked for");
  return Value::integer(count);
}

// ---- Of loops

Value cycle(Evaluator&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) throw Fault("expected items to go through, got none");
  return arguments.positional[static_cast<size_t>(self.as<Loop>().index0) % arguments.positional.size()];
}

Value changed(Evaluator&, const Value& self, const Arguments& arguments) {
  auto& loop = self.as<Loop>();
  const Values& now = arguments.positional;
  const bool is_same = loop.last_changed && loop.last_changed->size() == now.size() &&
                       std::equal(now.begin(), now.end(), loop.last_changed->begin(), are_equal);
  if (!is_same) loop.last_changed = now;
  return Value::boolean(!is_same);
}

struct Entry {
  std::string_view name;
  MethodFunction function;
};

constexpr std::array kDictMethods = {
    Entry{"copy", copy},
    Entry{"get", get},
    Entry{"items", view<Part::kItems>},
    Entry{"keys", view<Part::kKeys>},
    Entry{"values", view<Part::kValues>},
};

constexpr std::array kTupleMethods = {Entry{"count", look_for<true>}, Entry{"index", look_for<false>}};
constexpr std::array kListMethods = {Entry{"copy", copy}, kTupleMethods[0], kTupleMethods[1]};

constexpr std::array kLoopMethods = {Entry{"changed", changed}, Entry{"cycle", cycle}};

template <size_t N>
MethodFunction find_in(const std::array<Entry, N>& entries, std::string_view name) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : found->function;
}

MethodFunction method_of(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::kText:
      return find_text_method(name);
    case Kind::kDict:
      return find_in(kDictMethods, name);
    case Kind::kList:
      return find_in(kListMethods, name);
    case Kind::kTuple:
      return find_in(kTupleMethods, name);
    case Kind::kLoop:
      return find_in(kLoopMethods, name);
    default:
      return nullptr;
  }
}

// Whether the sandbox takes away a method of Python's dictionaries. Such names still hide keys from `x.name`.
bool is_taken_away(std::string_view name) {
  constexpr std::array kNames = {"clear", "fromkeys", "pop", "popitem", "setdefault", "update"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace

bool is_method(std::string_view name) {
  for (const Kind kind : {Kind::kText, Kind::kDict, Kind::kList, Kind::kLoop})
    if (method_of(kind, name) != nullptr) return true;
  return false;
}

std::string method_names() {
  std::vector<std::string_view> names = text_method_names();
  const auto add = [&](const auto& entries) {
    for (const Entry& entry : entries) names.push_back(entry.name);
  };
  add(kDictMethods);
  add(kListMethods);
  add(kLoopMethods);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return fmt::format("{}", fmt::join(names, ", "));
}

std::optional<Value> find_method(const Value& self, std::string_view name) {
  const MethodFunction function = method_of(self.kind(), name);
  if (function == nullptr) {
    if (self.is(Kind::kDict) && is_taken_away(name))
      return Value::undefined(fmt::format("\"{}\" of a dictionary is not for templates", name));
    return std::nullopt;
  }
  if (self.is_safe_text()) fail_safe();
  auto made = std::make_shared<Method>();
  made->self = self;
  made->function = function;
  return Value::object(Kind::kMethod, std::move(made));
}

}  // namespace longlora::jinja
