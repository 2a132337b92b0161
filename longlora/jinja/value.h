// The values that a template computes with. They are Python's, as far as chat templates use them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/core/json_fwd.h"
#include "longlora/jinja/text.h"

namespace longlora::jinja {

enum class Kind {
  kUndefined,  // what is missing; carries the words that say what
  kNone,
  kBool,
  kInteger,  // 64 bits; what goes beyond is refused
  kFloat,
  kText,
  kList,
  kTuple,
  kRange,      // as a list, but for how it prints
  kView,       // of a dictionary: iterated and counted, not indexed
  kGenerator,  // what a lazy filter gives: iterated once
  kDict,
  kNamespace,  // attributes that a template may set
  kLoop,
  kMethod,    // a method with the value that it belongs to
  kFunction,  // a function of the environment
  kMacro,     // a function of the template
};

/// How deep lists, tuples and dictionaries may nest.
constexpr int kMaxNesting = 128;

class Value;
using Values = std::vector<Value>;
using Entries = std::vector<std::pair<Value, Value>>;

/// What a value of one of the larger kinds points to. Objects of the kinds that only the evaluator makes
/// (loops, methods, functions, macros) are derived from it where they are used.
struct Object {
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
};

/// One value. Copies share what they point to, which never changes, except for a namespace, a loop and what
/// is left of a generator.
class Value {
 public:
  /// An undefined value without words.
  Value() = default;
  static Value undefined(std::string what);
  static Value none();
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value number(double value);
  /// An origin marks the text as data; see Text.
  static Value text(std::string bytes, int32_t origin = 0);
  static Value text(Text text);
  /// Makes what the filter "safe" makes, markupsafe's Markup. What is added to it is escaped as HTML is.
  static Value safe_text(Text text);
  /// Makes a list, tuple, range, view or generator. Throws Fault where it nests deeper than kMaxNesting.
  static Value sequence(Kind kind, Values items, std::string name = "");
  /// Makes a dictionary. Of equal keys the last value counts, in the place of the first. Throws as sequence()
  /// does.
  static Value dict(Entries entries);
  static Value object(Kind kind, std::shared_ptr<Object> object);
  /// Makes the value that JSON states. Every string in it is of `origin`, and keys are the template's own.
  /// Throws as sequence() does.
  static Value from_json(const Json& json, int32_t origin = 0);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_text() const { return kind_ == Kind::kText; }
  bool is_safe_text() const;
  /// Whether it is an integer, or true or false, which Python takes for one.
  bool is_integral() const { return kind_ == Kind::kInteger || kind_ == Kind::kBool; }
  bool is_numeric() const { return is_integral() || kind_ == Kind::kFloat; }
  /// Whether it has items in an order: a list, tuple, range, view or generator.
  bool is_sequence() const { return kind_ >= Kind::kList && kind_ <= Kind::kGenerator; }
  /// Whether it is one of these that has a length and can be indexed: a list, tuple or range.
  bool is_indexed() const { return kind_ >= Kind::kList && kind_ <= Kind::kRange; }

  /// Each of these requires a value of its kind.
  bool as_bool() const { return integer_ != 0; }
  int64_t as_integer() const { return integer_; }
  double as_number() const { return kind_ == Kind::kFloat ? number_ : static_cast<double>(integer_); }
  const Text& as_text() const;
  const std::string& bytes() const { return as_text().bytes(); }
  const Values& items() const;
  /// Returns the items of a sequence. A generator has none left afterwards.
  Values take_items() const;
  /// How a range or view prints ("range(0, 3)", "dict_keys"). Empty for a part of a range.
  const std::string& sequence_name() const;
  const Entries& entries() const;
  template <typename T>
  T& as() const {
    return static_cast<T&>(*object_);
  }

  /// Says why an undefined value is undefined.
  std::string undefined_message() const;
  /// The name of the type, for messages.
  const char* type_name() const;
  /// Whether Python's bool() of it is true.
  bool is_true() const;
  /// How many levels of lists and dictionaries are in it.
  int nesting() const;
  /// Roughly the bytes of all that is in it, which is what looking at all of it costs.
  int64_t weight() const;
  /// Returns the value under a key of a dictionary, or null.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  /// Whether Python's `is` holds.
  bool is_same(const Value& other) const;

 private:
  Kind kind_ = Kind::kUndefined;
  int64_t integer_ = 0;
  double number_ = 0;
  std::shared_ptr<Object> object_;
};

/// The object of a namespace: attributes that a template sets.
struct Namespace : Object {
  std::vector<std::pair<std::string, Value>> attributes;

  const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);
};

/// Whether Python's == holds. It never fails.
bool are_equal(const Value& a, const Value& b);
/// Throws Fault for what cannot be a key of a dictionary: lists, dictionaries, and tuples with one in them.
void check_hashable(const Value& key);
/// Compares numbers, texts, lists or tuples as Python does. Returns a negative number, 0 or a positive one.
/// Throws Fault for kinds that Python does not order.
int compare(const Value& a, const Value& b);

}  // namespace longlora::jinja
