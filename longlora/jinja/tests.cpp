#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "longlora/jinja/builtins.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/operators.h"

namespace longlora::jinja {

namespace {

template <Kind WantedKind>
bool is_kind(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return subject.is(WantedKind);
}

bool is_defined(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return !subject.is_undefined();
}

template <bool Truth>
bool is_truth(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return subject.is(Kind::kBool) && subject.as_bool() == Truth;
}

bool is_number(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return subject.is_numeric();
}

bool is_sequence(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return subject.is_undefined() || subject.is_text() || subject.is_indexed() || subject.is(Kind::kDict);
}

bool is_iterable(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return subject.is_undefined() || subject.is_text() || subject.is_sequence() || subject.is(Kind::kDict) ||
         subject.is(Kind::kLoop);
}

bool is_callable(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return subject.kind() >= Kind::kLoop || subject.is_undefined();
}

const Value& other(const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    throw Fault(fmt::format("expected one argument of a test, got {}",
                            arguments.positional.size() + arguments.named.size()));
  return arguments.positional[0];
}

int64_t remainder(Evaluator& evaluator, const Value& subject, const Value& divisor) {
  const Value rest = binary(evaluator, "%", subject, divisor);
  return rest.is(Kind::kFloat) ? (rest.as_number() == 0.0   ? 0
                                  : rest.as_number() == 1.0 ? 1
                                                            : 2)
                               : rest.as_integer();
}

bool is_odd(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return remainder(evaluator, subject, Value::integer(2)) == 1;
}

bool is_even(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return remainder(evaluator, subject, Value::integer(2)) == 0;
}

bool is_divisible_by(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return remainder(evaluator, subject, other(arguments)) == 0;
}

bool is_same(Evaluator&, const Value& subject, const Arguments& arguments) {
  return subject.is_same(other(arguments));
}

bool is_in(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return contains(evaluator, other(arguments), subject);
}

struct Comparison {
  static constexpr char kEqual[] = "==", kUnequal[] = "!=", kLess[] = "<", kAtMost[] = "<=", kGreater[] = ">",
                        kAtLeast[] = ">=";
};

template <const char* Name>
bool is_compared(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return compares(evaluator, Name, subject, other(arguments));
}

struct Entry {
  std::string_view name;
  TestFunction function;
};

constexpr std::array kTests = {
    Entry{"!=", is_compared<Comparison::kUnequal>},
    Entry{"<", is_compared<Comparison::kLess>},
    Entry{"<=", is_compared<Comparison::kAtMost>},
    Entry{"==", is_compared<Comparison::kEqual>},
    Entry{">", is_compared<Comparison::kGreater>},
    Entry{">=", is_compared<Comparison::kAtLeast>},
    Entry{"boolean", is_kind<Kind::kBool>},
    Entry{"callable", is_callable},
    Entry{"defined", is_defined},
    Entry{"divisibleby", is_divisible_by},
    Entry{"eq", is_compared<Comparison::kEqual>},
    Entry{"equalto", is_compared<Comparison::kEqual>},
    Entry{"even", is_even},
    Entry{"false", is_truth<false>},
    Entry{"float", is_kind<Kind::kFloat>},
    Entry{"ge", is_compared<Comparison::kAtLeast>},
    Entry{"greaterthan", is_compared<Comparison::kGreater>},
    Entry{"gt", is_compared<Comparison::kGreater>},
    Entry{"in", is_in},
    Entry{"integer", is_kind<Kind::kInteger>},
    Entry{"iterable", is_iterable},
    Entry{"le", is_compared<Comparison::kAtMost>},
    Entry{"lessthan", is_compared<Comparison::kLess>},
    Entry{"lt", is_compared<Comparison::kLess>},
    Entry{"mapping", is_kind<Kind::kDict>},
    Entry{"ne", is_compared<Comparison::kUnequal>},
    Entry{"none", is_kind<Kind::kNone>},
    Entry{"number", is_number},
    Entry{"odd", is_odd},
    Entry{"sameas", is_same},
    Entry{"sequence", is_sequence},
    Entry{"string", is_kind<Kind::kText>},
    Entry{"true", is_truth<true>},
    Entry{"undefined", is_kind<Kind::kUndefined>},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  const auto found =
      std::find_if(kTests.begin(), kTests.end(), [&](const Entry& entry) { return entry.name == name; });
  return found == kTests.end() ? nullptr : found->function;
}

std::string test_names() {
  std::vector<std::string_view> names;
  names.reserve(kTests.size());
  for (const Entry& entry : kTests) names.push_back(entry.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace longlora::jinja
