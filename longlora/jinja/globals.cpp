#include <fmt/format.h>

#include <array>
#include <ctime>

#include "longlora/jinja/builtins.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/print.h"
#include "longlora/jinja/text_functions.h"

namespace longlora::jinja {

namespace {

// The limit of jinja2's sandbox.
constexpr int64_t kLongestRange = 100'000;

Value range(Evaluator& evaluator, const Arguments& arguments) {
  const auto count = arguments.positional.size();
  if (count < 1 || count > 3 || !arguments.named.empty())
    throw Fault(fmt::format("expected one to three numbers of a range, got {}", count));
  const auto number = [&](size_t i) { return integer_argument(arguments.positional[i], 0, "a range"); };
  const int64_t start = count == 1 ? 0 : number(0), stop = number(count == 1 ? 0 : 1),
                step = count == 3 ? number(2) : 1;
  if (step == 0) throw Fault("expected a step of a range, got 0");
  constexpr int64_t kFarthest = int64_t{1} << 60;
  for (const int64_t part : {start, stop, step})
    if (part > kFarthest || part < -kFarthest) throw Fault("expected smaller numbers of a range");
  const int64_t distance = step > 0 ? stop - start : start - stop;
  const int64_t length = distance <= 0 ? 0 : (distance - 1) / std::abs(step) + 1;
  if (length > kLongestRange)
    throw Fault(fmt::format("expected a range of at most {} numbers, got {}", kLongestRange, length));
  evaluator.charge_bytes(length * 32);
  Values numbers;
  for (int64_t i = 0; i < length; ++i) numbers.push_back(Value::integer(start + i * step));
  return Value::sequence(Kind::kRange, std::move(numbers),
                         step == 1 ? fmt::format("range({}, {})", start, stop)
                                   : fmt::format("range({}, {}, {})", start, stop, step));
}

// Collects keys and values from a dictionary or from pairs, and then from arguments by name.
Entries entries_of(Evaluator& evaluator, const Arguments& arguments) {
  if (arguments.positional.size() > 1)
    throw Fault(fmt::format("expected at most one dictionary, got {}", arguments.positional.size()));
  Entries entries;
  if (!arguments.positional.empty() && arguments.positional[0].is(Kind::kDict)) {
    entries = arguments.positional[0].entries();
  } else if (!arguments.positional.empty()) {
    for (const Value& pair : evaluator.iterate(arguments.positional[0])) {
      Values parts = evaluator.iterate(pair);
      if (parts.size() != 2)
        throw Fault(fmt::format("expected pairs of key and value, got {} values", parts.size()));
      entries.emplace_back(std::move(parts[0]), std::move(parts[1]));
    }
  }
  for (const auto& [key, value] : entries) check_hashable(key);
  for (const auto& [name, value] : arguments.named) entries.emplace_back(Value::text(name), value);
  const auto count = static_cast<int64_t>(entries.size());
  evaluator.charge_bytes(count * count);  // each key is compared with those before it
  return entries;
}

Value dict(Evaluator& evaluator, const Arguments& arguments) {
  return Value::dict(entries_of(evaluator, arguments));
}

Value make_namespace(Evaluator& evaluator, const Arguments& arguments) {
  Value made = evaluator.make_namespace();
  for (auto& [key, value] : entries_of(evaluator, arguments)) {
    const std::string& name = text_argument(key, "the name of an attribute").bytes();
    if (name.starts_with('_'))
      throw Fault(fmt::format("expected an attribute without \"_\" in front, got \"{}\"", name));
    made.as<Namespace>().set(name, value);
  }
  return made;
}

Value raise_exception(Evaluator& evaluator, const Arguments& arguments) {
  const auto bound = arguments.bind({"message"});
  if (!bound[0]) throw Fault("expected the words of an exception, got none");
  throw Fault(
      fmt::format("the template refuses this conversation: {}", to_text(evaluator, *bound[0]).bytes()));
}

Value strftime_now(Evaluator& evaluator, const Arguments& arguments) {
  const auto bound = arguments.bind({"format"});
  const std::string& format = text_argument(bound[0], "the form of a date").bytes();
  evaluator.charge_bytes(std::ssize(format) * 64);
  if (format.empty()) return Value::text("");
  // strftime returns 0 both for an empty text and for one that does not fit. A byte in front tells them
  // apart.
  const std::string marked = "." + format;
  std::string date(marked.size() * 64 + 64, '\0');
  date.resize(std::strftime(date.data(), date.size(), marked.c_str(), &evaluator.now()));
  if (date.empty()) throw Fault("expected the form of a date, got one that makes too long a text");
  return Value::text(date.substr(1));
}

struct Entry {
  std::string_view name;
  GlobalFunction function;
};

constexpr std::array kGlobals = {
    Entry{"dict", dict},   Entry{"namespace", make_namespace},  Entry{"raise_exception", raise_exception},
    Entry{"range", range}, Entry{"strftime_now", strftime_now},
};

}  // namespace

GlobalFunction find_global(std::string_view name) {
  for (const Entry& entry : kGlobals)
    if (entry.name == name) return entry.function;
  return nullptr;
}

}  // namespace longlora::jinja
