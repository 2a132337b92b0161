#include "longlora/jinja/sequence_filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>

#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/operators.h"
#include "longlora/jinja/print.h"
#include "longlora/jinja/text_functions.h"

namespace longlora::jinja::sequence_filters {

using Bound = std::vector<std::optional<Value>>;

namespace {

// Looks up item.a.b for the path "a.b", in which numbers are indices.
Value attribute_of(Evaluator& evaluator, Value item, const Value& path,
                   const std::optional<Value>& otherwise) {
  if (path.is(Kind::kNone)) return item;
  if (!path.is_text()) {
    Value found = evaluator.get_item(item, path);
    return found.is_undefined() && otherwise ? *otherwise : found;
  }
  std::string_view rest = path.bytes();
  while (true) {
    const std::string_view part = rest.substr(0, rest.find('.'));
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        !part.empty() && part[0] != '-' && error == std::errc() && end == part.data() + part.size();
    item = evaluator.get_item(item, is_index ? Value::integer(index) : Value::text(std::string(part)));
    if (item.is_undefined() && otherwise) item = *otherwise;
    if (part.size() == rest.size()) return item;
    rest.remove_prefix(part.size() + 1);
  }
}

Value without_case(Evaluator& evaluator, Value value) {
  if (!value.is_text()) return value;
  evaluator.charge_bytes(std::ssize(value.bytes()));
  return Value::text(with_case(value.as_text(), Case::kLower));
}

}  // namespace

Value join(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"d", "attribute"});
  Values parts = evaluator.iterate(subject);
  if (bound[1] && !bound[1]->is(Kind::kNone))
    for (Value& part : parts) part = attribute_of(evaluator, part, *bound[1], std::nullopt);
  return Value::text(joined(evaluator, parts, bound[0] ? to_text(evaluator, *bound[0]) : Text()));
}

namespace {

// An item with what it is ordered by.
struct Keyed {
  Value key, item;
};

std::vector<Keyed> with_keys(Evaluator& evaluator, const Value& subject,
                             const std::optional<Value>& attribute, bool case_sensitive) {
  std::vector<Keyed> keyed;
  for (const Value& item : evaluator.iterate(subject)) {
    Value key = attribute ? attribute_of(evaluator, item, *attribute, std::nullopt) : item;
    keyed.push_back({case_sensitive ? key : without_case(evaluator, key), item});
  }
  return keyed;
}

void sort_by_key(Evaluator& evaluator, std::vector<Keyed>* keyed, bool descending) {
  const auto is_before = [&](const Keyed& a, const Keyed& b) {
    evaluator.charge_bytes(std::min(a.key.weight(), b.key.weight()));
    return descending ? compare(b.key, a.key) < 0 : compare(a.key, b.key) < 0;
  };
  std::stable_sort(keyed->begin(), keyed->end(), is_before);
}

Value list_of_items(std::vector<Keyed> keyed) {
  Values sorted;
  for (Keyed& entry : keyed) sorted.push_back(std::move(entry.item));
  return Value::sequence(Kind::kList, std::move(sorted));
}

// Makes what sort orders by: a list of the attributes that "a,b" names.
Value sort_key(Evaluator& evaluator, const Value& item, const std::optional<Value>& attributes,
               bool case_sensitive) {
  Values keys;
  const auto add = [&](const Value& path) {
    Value key = attribute_of(evaluator, item, path, std::nullopt);
    keys.push_back(case_sensitive ? key : without_case(evaluator, key));
  };
  if (attributes && attributes->is_text()) {
    std::string_view rest = attributes->bytes();
    for (size_t comma = rest.find(','); comma != std::string_view::npos; comma = rest.find(',')) {
      add(Value::text(std::string(rest.substr(0, comma))));
      rest.remove_prefix(comma + 1);
    }
    add(Value::text(std::string(rest)));
  } else {
    add(attributes.value_or(Value::none()));
  }
  return Value::sequence(Kind::kList, std::move(keys));
}

}  // namespace

Value sort(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> keyed;
  for (const Value& item : evaluator.iterate(subject))
    keyed.push_back({sort_key(evaluator, item, bound[2], truth_argument(bound[1], false)), item});
  sort_by_key(evaluator, &keyed, truth_argument(bound[0], false));
  return list_of_items(std::move(keyed));
}

Value dictsort(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"case_sensitive", "by", "reverse"});
  if (!subject.is(Kind::kDict))
    throw Fault(fmt::format("expected a dictionary, got {}", subject.type_name()));
  const std::string by = bound[1] ? text_argument(bound[1], "by").bytes() : "key";
  if (by != "key" && by != "value")
    throw Fault(fmt::format("expected \"key\" or \"value\" to sort by, got \"{}\"", by));
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : subject.entries()) {
    const Value& chosen = by == "key" ? key : value;
    keyed.push_back({truth_argument(bound[0], false) ? chosen : without_case(evaluator, chosen),
                     Value::sequence(Kind::kTuple, {key, value})});
  }
  sort_by_key(evaluator, &keyed, truth_argument(bound[2], false));
  return list_of_items(std::move(keyed));
}

Value unique(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"case_sensitive", "attribute"});
  std::vector<Keyed> kept;
  for (Keyed& entry : with_keys(evaluator, subject, bound[1], truth_argument(bound[0], false))) {
    check_hashable(entry.key);
    const bool is_new = std::none_of(kept.begin(), kept.end(), [&](const Keyed& earlier) {
      evaluator.charge_bytes(std::min(entry.key.weight(), earlier.key.weight()));
      return are_equal(earlier.key, entry.key);
    });
    if (is_new) kept.push_back(std::move(entry));
  }
  return Value::sequence(Kind::kGenerator, list_of_items(std::move(kept)).take_items());
}

namespace {

Value extreme(Evaluator& evaluator, const Value& subject, const Arguments& arguments, bool greatest) {
  const Bound bound = arguments.bind({"case_sensitive", "attribute"});
  const auto keyed = with_keys(evaluator, subject, bound[1], truth_argument(bound[0], false));
  if (keyed.empty()) return Value::undefined("there is no item to choose from");
  const Keyed* best = &keyed.front();
  for (const Keyed& entry : std::span(keyed).subspan(1)) {
    evaluator.charge_bytes(std::min(entry.key.weight(), best->key.weight()));
    if (greatest ? compare(entry.key, best->key) > 0 : compare(entry.key, best->key) < 0) best = &entry;
  }
  return best->item;
}

}  // namespace

Value minimum(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return extreme(evaluator, subject, arguments, false);
}

Value maximum(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return extreme(evaluator, subject, arguments, true);
}

Value sum(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"attribute", "start"});
  Value total = bound[1] ? *bound[1] : Value::integer(0);
  for (const Value& item : evaluator.iterate(subject))
    total = binary(evaluator, "+", total,
                   bound[0] ? attribute_of(evaluator, item, *bound[0], std::nullopt) : item);
  return total;
}

namespace {

Arguments behind(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

}  // namespace

Value map(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  Values mapped;
  if (!subject.is_true()) return Value::sequence(Kind::kGenerator, std::move(mapped));
  if (arguments.positional.empty()) {
    const Bound bound = arguments.bind({"attribute", "default"});
    if (!bound[0]) throw Fault("expected a filter or an attribute to map to");
    std::optional<Value> otherwise = bound[1];
    if (otherwise && otherwise->is(Kind::kNone)) otherwise.reset();
    for (const Value& item : evaluator.iterate(subject)) {
      evaluator.charge_steps(1);
      mapped.push_back(attribute_of(evaluator, item, *bound[0], otherwise));
    }
    return Value::sequence(Kind::kGenerator, std::move(mapped));
  }
  const FilterFunction filter = find_filter(text_argument(arguments.positional[0], "the filter").bytes());
  if (filter == nullptr) throw Fault("expected a filter to map to");
  const Arguments rest = behind(arguments, 1);
  for (const Value& item : evaluator.iterate(subject)) {
    evaluator.charge_steps(1);
    mapped.push_back(filter(evaluator, item, rest));
  }
  return Value::sequence(Kind::kGenerator, std::move(mapped));
}

namespace {

// Chooses the items for which a test of them, or of an attribute, holds (`keep`) or does not.
Value choose(Evaluator& evaluator, const Value& subject, const Arguments& arguments, bool by_attribute,
             bool keep) {
  const size_t place = by_attribute ? 1 : 0;
  Values chosen;
  if (!subject.is_true()) return Value::sequence(Kind::kGenerator, std::move(chosen));
  if (arguments.positional.size() < place) throw Fault("expected an attribute to choose by");
  TestFunction test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > place) {
    test = find_test(text_argument(arguments.positional[place], "the test").bytes());
    if (test == nullptr) throw Fault("expected a test to choose by");
    rest = behind(arguments, place + 1);
  }
  for (const Value& item : evaluator.iterate(subject)) {
    evaluator.charge_steps(1);
    const Value tested =
        by_attribute ? attribute_of(evaluator, item, arguments.positional[0], std::nullopt) : item;
    if ((test != nullptr ? test(evaluator, tested, rest) : tested.is_true()) == keep) chosen.push_back(item);
  }
  return Value::sequence(Kind::kGenerator, std::move(chosen));
}

}  // namespace

Value select(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return choose(evaluator, subject, arguments, false, true);
}

Value reject(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return choose(evaluator, subject, arguments, false, false);
}

Value selectattr(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return choose(evaluator, subject, arguments, true, true);
}

Value rejectattr(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  return choose(evaluator, subject, arguments, true, false);
}

}  // namespace longlora::jinja::sequence_filters
