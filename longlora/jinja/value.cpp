#include "longlora/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "longlora/core/json.h"
#include "longlora/jinja/fault.h"

namespace longlora::jinja {

namespace {

struct TextObject : Object {
  explicit TextObject(Text value) : text(std::move(value)) {}
  Text text;
  bool is_safe = false;
};

// Counts what a list or a dictionary holds, through all levels.
struct Contents : Object {
  int nesting = 1;
  int64_t weight = 0;

  void count(const Value& value) {
    nesting = std::max(nesting, checked_nesting(value.nesting()));
    weight = std::min(weight + value.weight(), kHeaviest);
  }

 private:
  static constexpr int64_t kHeaviest = int64_t{1} << 60;

  static int checked_nesting(int inside);
};

struct SequenceObject : Contents {
  Values items;
  std::string name;
};

struct DictObject : Contents {
  Entries entries;
};

int Contents::checked_nesting(int deepest_inside) {
  if (deepest_inside >= kMaxNesting)
    throw Fault(fmt::format("expected lists and dictionaries nested at most {} deep, got more", kMaxNesting));
  return deepest_inside + 1;
}

}  // namespace

Value Value::undefined(std::string what) {
  Value value;
  value.object_ = std::make_shared<TextObject>(Text(std::move(what)));
  return value;
}

Value Value::none() {
  Value value;
  value.kind_ = Kind::kNone;
  return value;
}

Value Value::boolean(bool truth) {
  Value value;
  value.kind_ = Kind::kBool;
  value.integer_ = truth ? 1 : 0;
  return value;
}

Value Value::integer(int64_t integer) {
  Value value;
  value.kind_ = Kind::kInteger;
  value.integer_ = integer;
  return value;
}

Value Value::number(double number) {
  Value value;
  value.kind_ = Kind::kFloat;
  value.number_ = number;
  return value;
}

Value Value::text(std::string bytes, int32_t origin) {
  return text(Text(std::move(bytes), origin));
}

Value Value::text(Text text) {
  return object(Kind::kText, std::make_shared<TextObject>(std::move(text)));
}

Value Value::safe_text(Text text) {
  auto made = std::make_shared<TextObject>(std::move(text));
  made->is_safe = true;
  return object(Kind::kText, std::move(made));
}

Value Value::sequence(Kind kind, Values items, std::string name) {
  auto made = std::make_shared<SequenceObject>();
  for (const Value& item : items) made->count(item);
  made->items = std::move(items);
  made->name = std::move(name);
  return object(kind, std::move(made));
}

Value Value::dict(Entries entries) {
  auto made = std::make_shared<DictObject>();
  for (auto& entry : entries) {
    made->count(entry.first);
    made->count(entry.second);
    const auto same = std::find_if(made->entries.begin(), made->entries.end(), [&](const auto& earlier) {
      return are_equal(earlier.first, entry.first);
    });
    if (same == made->entries.end())
      made->entries.push_back(std::move(entry));
    else
      same->second = std::move(entry.second);
  }
  return object(Kind::kDict, std::move(made));
}

Value Value::object(Kind kind, std::shared_ptr<Object> object) {
  Value value;
  value.kind_ = kind;
  value.object_ = std::move(object);
  return value;
}

Value Value::from_json(const Json& json, int32_t origin) {
  if (json.is_boolean()) return boolean(json.get<bool>());
  if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX})
    return number(json.get<double>());
  if (json.is_number_integer()) return integer(json.get<int64_t>());
  if (json.is_number()) return number(json.get<double>());
  if (json.is_string()) return text(json.get<std::string>(), origin);
  if (json.is_array()) {
    Values items;
    items.reserve(json.size());
    for (const Json& item : json) items.push_back(from_json(item, origin));
    return sequence(Kind::kList, std::move(items));
  }
  if (!json.is_object()) return none();
  auto made = std::make_shared<DictObject>();  // the keys of an object differ already
  for (const auto& [key, item] : json.items()) {
    made->entries.emplace_back(text(key), from_json(item, origin));
    made->count(made->entries.back().first);
    made->count(made->entries.back().second);
  }
  return object(Kind::kDict, std::move(made));
}

bool Value::is_safe_text() const {
  return is_text() && as<TextObject>().is_safe;
}

const Text& Value::as_text() const {
  return as<TextObject>().text;
}

const Values& Value::items() const {
  return as<SequenceObject>().items;
}

Values Value::take_items() const {
  auto& sequence = as<SequenceObject>();
  return is(Kind::kGenerator) ? std::exchange(sequence.items, {}) : sequence.items;
}

const std::string& Value::sequence_name() const {
  return as<SequenceObject>().name;
}

const Entries& Value::entries() const {
  return as<DictObject>().entries;
}

std::string Value::undefined_message() const {
  return object_ == nullptr ? "the value is undefined" : as_text().bytes();
}

const char* Value::type_name() const {
  constexpr std::array kNames = {"undefined", "None",  "bool",   "int",       "float",     "str",
                                 "list",      "tuple", "range",  "dict view", "generator", "dict",
                                 "namespace", "loop",  "method", "function",  "macro"};
  return kNames[static_cast<size_t>(kind_)];
}

bool Value::is_true() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInteger:
      return integer_ != 0;
    case Kind::kFloat:
      return number_ != 0.0;
    case Kind::kText:
      return as_text().size() > 0;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return !items().empty();
    case Kind::kDict:
      return !entries().empty();
    default:
      return true;
  }
}

int Value::nesting() const {
  if (is_sequence()) return as<SequenceObject>().nesting;
  return is(Kind::kDict) ? as<DictObject>().nesting : 0;
}

int64_t Value::weight() const {
  constexpr int64_t kOfValue = 32;
  if (is_text()) return kOfValue + static_cast<int64_t>(bytes().size());
  if (is_sequence()) return kOfValue + as<SequenceObject>().weight;
  return is(Kind::kDict) ? kOfValue + as<DictObject>().weight : kOfValue;
}

const Value* Value::find(const Value& key) const {
  for (const auto& [name, value] : entries())
    if (are_equal(name, key)) return &value;
  return nullptr;
}

const Value* Value::find(std::string_view key) const {
  for (const auto& [name, value] : entries())
    if (name.is_text() && name.bytes() == key) return &value;
  return nullptr;
}

bool Value::is_same(const Value& other) const {
  if (kind_ != other.kind_) return false;
  if (object_ != nullptr && object_ == other.object_) return true;
  if (is_text()) return bytes() == other.bytes();  // Python shares equal constants, if not all equal texts
  if (kind_ == Kind::kFloat) return number_ == other.number_;
  return object_ == nullptr ? integer_ == other.integer_ : object_ == other.object_;
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [known, value] : attributes)
    if (known == name) return &value;
  return nullptr;
}

void Namespace::set(const std::string& name, Value value) {
  for (auto& [known, old] : attributes)
    if (known == name) {
      old = std::move(value);
      return;
    }
  attributes.emplace_back(name, std::move(value));
}

namespace {

int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral())
    return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer() ? 1 : 0;
  // A long double holds both kinds without rounding.
  const auto wide = [](const Value& value) {
    return value.is_integral() ? static_cast<long double>(value.as_integer())
                               : static_cast<long double>(value.as_number());
  };
  const long double x = wide(a), y = wide(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

bool are_equal_lists(const Values& a, const Values& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), are_equal);
}

bool are_equal_dicts(const Value& a, const Value& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (other == nullptr || !are_equal(value, *other)) return false;
  }
  return true;
}

}  // namespace

bool are_equal(const Value& a, const Value& b) {
  if (a.is_numeric() && b.is_numeric()) {
    const auto is_nan = [](const Value& value) { return value.as_number() != value.as_number(); };
    return !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
  }
  if (a.kind() != b.kind()) return false;
  if (a.is_same(b)) return true;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return are_equal_lists(a.items(), b.items());
    case Kind::kDict:
      return are_equal_dicts(a, b);
    default:
      return a.is_same(b);
  }
}

void check_hashable(const Value& key) {
  if (key.is(Kind::kList) || key.is(Kind::kDict))
    throw Fault(fmt::format("expected a key that is no list and no dictionary, got {}", key.type_name()));
  if (key.is(Kind::kTuple))
    for (const Value& item : key.items()) check_hashable(item);
}

int compare(const Value& a, const Value& b) {
  if (a.is_numeric() && b.is_numeric()) return compare_numbers(a, b);
  if (a.is_text() && b.is_text()) return a.bytes().compare(b.bytes());
  if (a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple))) {
    const Values &x = a.items(), &y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!are_equal(x[i], y[i])) return compare(x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) throw Fault(value->undefined_message());
  throw Fault(
      fmt::format("expected two values that have an order, got {} and {}", a.type_name(), b.type_name()));
}

}  // namespace longlora::jinja
