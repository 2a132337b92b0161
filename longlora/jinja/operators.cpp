#include "longlora/jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "longlora/core/utf8.h"
#include "longlora/jinja/characters.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"

namespace longlora::jinja {

namespace {

[[noreturn]] void fail_operands(std::string_view name, const Value& a, const Value& b) {
  if (name == "%" && a.is_text()) throw Fault("formatting a text with % is not supported");
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) throw Fault(value->undefined_message());
  throw Fault(
      fmt::format("expected values that \"{}\" takes, got {} and {}", name, a.type_name(), b.type_name()));
}

[[noreturn]] void fail_overflow() {
  throw Fault("expected whole numbers of 64 bits, got a larger result");
}

// Python rounds quotients down, and a remainder has the divisor's sign.
int64_t floor_quotient(int64_t a, int64_t b) {
  if (b == 0) throw Fault("expected a divisor, got 0");
  if (b == -1) {
    if (a == std::numeric_limits<int64_t>::min()) fail_overflow();
    return -a;
  }
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

double floor_remainder(double a, double b) {
  const double remainder = std::fmod(a, b);
  if (remainder == 0.0) return std::copysign(0.0, b);
  return (remainder < 0.0) != (b < 0.0) ? remainder + b : remainder;
}

double floor_quotient(double a, double b) {
  const double quotient = (a - floor_remainder(a, b)) / b;
  if (quotient == 0.0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1.0 : floored;
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw Fault("expected a divisor, got 0");
    return Value::number(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  if (base == 0 || base == 1 || base == -1)
    return Value::integer(exponent == 0 || base == 1 || (base == -1 && exponent % 2 == 0) ? 1 : base);
  for (; exponent > 0; --exponent)
    if (__builtin_mul_overflow(result, base, &result)) fail_overflow();
  return Value::integer(result);
}

Value integer_arithmetic(std::string_view name, int64_t a, int64_t b) {
  int64_t result = 0;
  if (name == "+" || name == "-" || name == "*") {
    const bool overflows = name == "+"   ? __builtin_add_overflow(a, b, &result)
                           : name == "-" ? __builtin_sub_overflow(a, b, &result)
                                         : __builtin_mul_overflow(a, b, &result);
    if (overflows) fail_overflow();
    return Value::integer(result);
  }
  if (name == "//") return Value::integer(floor_quotient(a, b));
  if (name == "%") return Value::integer(b == -1 ? 0 : a - floor_quotient(a, b) * b);
  if (name == "**") return integer_power(a, b);
  if (b == 0) throw Fault("expected a divisor, got 0");
  return Value::number(static_cast<double>(a) / static_cast<double>(b));
}

Value float_arithmetic(std::string_view name, double a, double b) {
  if (name == "+") return Value::number(a + b);
  if (name == "-") return Value::number(a - b);
  if (name == "*") return Value::number(a * b);
  if (name == "**") {
    if (a < 0.0 && b != std::floor(b)) throw Fault("expected a power that is no complex number");
    const double power = std::pow(a, b);
    if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) throw Fault("expected a power of 64 bits");
    return Value::number(power);
  }
  if (b == 0.0) throw Fault("expected a divisor, got 0");
  if (name == "/") return Value::number(a / b);
  return Value::number(name == "%" ? floor_remainder(a, b) : floor_quotient(a, b));
}

// Escapes as markupsafe does.
Text escaped(const Text& text) {
  constexpr std::string_view kSpecial = "&<>'\"";
  constexpr std::array kNames = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
  Text result;
  size_t copied = 0;
  const std::string& bytes = text.bytes();
  for (size_t at = bytes.find_first_of(kSpecial); at != std::string::npos;
       at = bytes.find_first_of(kSpecial, copied)) {
    result.append_part(text, copied, at);
    result.append(kNames[kSpecial.find(bytes[at])], text.origin_at(at));
    copied = at + 1;
  }
  result.append_part(text, copied, bytes.size());
  return result;
}

Value joined(Evaluator& evaluator, const Value& a, const Value& b) {
  if (a.is_safe_text() || b.is_safe_text()) {
    evaluator.charge_bytes(6 * (std::ssize(a.bytes()) + std::ssize(b.bytes())));
    Text text = a.is_safe_text() ? a.as_text() : escaped(a.as_text());
    text.append(b.is_safe_text() ? b.as_text() : escaped(b.as_text()));
    return Value::safe_text(std::move(text));
  }
  if (a.is_text()) {
    evaluator.charge_bytes(std::ssize(a.bytes()) + std::ssize(b.bytes()));
    Text text = a.as_text();
    text.append(b.as_text());
    return Value::text(std::move(text));
  }
  evaluator.charge_bytes(32 * (std::ssize(a.items()) + std::ssize(b.items())));
  Values items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return Value::sequence(a.kind(), std::move(items));
}

Value repeated(Evaluator& evaluator, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  const int64_t once = value.is_text() ? std::ssize(value.bytes()) : 32 * std::ssize(value.items());
  int64_t bytes = 0;
  if (__builtin_mul_overflow(once, times, &bytes)) bytes = std::numeric_limits<int64_t>::max() / 2;
  evaluator.charge_bytes(bytes);
  if (once == 0) return value;
  if (value.is_text()) {
    Text text;
    for (int64_t i = 0; i < times; ++i) text.append(value.as_text());
    return Value::text(std::move(text));
  }
  Values items;
  for (int64_t i = 0; i < times; ++i) items.insert(items.end(), value.items().begin(), value.items().end());
  return Value::sequence(value.kind(), std::move(items));
}

bool can_repeat(const Value& value) {
  return value.is_text() || value.is(Kind::kList) || value.is(Kind::kTuple);
}

}  // namespace

void fail_safe() {
  throw Fault("expected the filter \"safe\" last: work on what it gives is not supported");
}

Value binary(Evaluator& evaluator, std::string_view name, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return integer_arithmetic(name, a.as_integer(), b.as_integer());
  if (a.is_numeric() && b.is_numeric()) return float_arithmetic(name, a.as_number(), b.as_number());
  if (name == "+" && a.kind() == b.kind() && can_repeat(a)) return joined(evaluator, a, b);
  if (name != "+" && (a.is_safe_text() || b.is_safe_text())) fail_safe();
  if (name == "*" && can_repeat(a) && b.is_integral()) return repeated(evaluator, a, b.as_integer());
  if (name == "*" && can_repeat(b) && a.is_integral()) return repeated(evaluator, b, a.as_integer());
  fail_operands(name, a, b);
}

Value negated(const Value& value) {
  if (value.is(Kind::kFloat)) return Value::number(-value.as_number());
  if (value.is_undefined()) throw Fault(value.undefined_message());
  if (!value.is_integral())
    throw Fault(fmt::format("expected a number behind a sign, got {}", value.type_name()));
  return integer_arithmetic("-", 0, value.as_integer());
}

bool contains(Evaluator& evaluator, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (item.is_undefined()) throw Fault(item.undefined_message());
    if (!item.is_text()) throw Fault(fmt::format("expected a text in a text, got {}", item.type_name()));
    const std::string &text = container.bytes(), &word = item.bytes();
    evaluator.charge_bytes(std::ssize(text) + std::ssize(word));
    return memmem(text.data(), text.size(), word.data(), word.size()) != nullptr;
  }
  if (container.is(Kind::kDict)) {
    evaluator.charge_bytes(std::ssize(container.entries()) * 4);
    check_hashable(item);
    return container.find(item) != nullptr;
  }
  if (!container.is_undefined() && !container.is_sequence())
    throw Fault(fmt::format("expected something that holds items, got {}", container.type_name()));
  const Values items = evaluator.iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& candidate) {
    evaluator.charge_bytes(std::min(candidate.weight(), item.weight()));
    return are_equal(candidate, item);
  });
}

bool compares(Evaluator& evaluator, std::string_view name, const Value& a, const Value& b) {
  if (name == "in") return contains(evaluator, b, a);
  if (name == "not in") return !contains(evaluator, b, a);
  evaluator.charge_bytes(std::min(a.weight(), b.weight()));
  if (name == "==") return are_equal(a, b);
  if (name == "!=") return !are_equal(a, b);
  for (const Value* value : {&a, &b})
    if (value->is(Kind::kFloat) && std::isnan(value->as_number())) return false;
  const int order = compare(a, b);
  if (name == "<") return order < 0;
  if (name == "<=") return order <= 0;
  return name == ">" ? order > 0 : order >= 0;
}

const Value* find_index(const Value& list, int64_t index) {
  const Values& items = list.items();
  if (index < 0) index += std::ssize(items);
  return index >= 0 && index < std::ssize(items) ? &items[static_cast<size_t>(index)] : nullptr;
}

namespace {

// The items that a slice takes: the first index, the step and the number of items.
struct Cut {
  int64_t first = 0, step = 1, count = 0;
};

int64_t whole_number(const Value& part) {
  if (!part.is_integral())
    throw Fault(fmt::format("expected whole numbers to cut at, got {}", part.type_name()));
  return part.as_integer();
}

Cut cut_of(int64_t size, const Value* begin, const Value* end, const Value* step) {
  Cut cut;
  if (step != nullptr) cut.step = whole_number(*step);
  if (cut.step == 0) throw Fault("expected a step to cut with, got 0");
  const bool forward = cut.step > 0;
  const auto clamped = [&](const Value* part, int64_t otherwise) {
    if (part == nullptr) return otherwise;
    int64_t index = whole_number(*part);
    if (index < 0) index = std::max<int64_t>(index, -size - 1) + size;
    return std::clamp<int64_t>(index, forward ? 0 : -1, forward ? size : size - 1);
  };
  cut.first = clamped(begin, forward ? 0 : size - 1);
  const int64_t last = clamped(end, forward ? size : -1);
  const int64_t distance = forward ? last - cut.first : cut.first - last;
  if (distance <= 0) return cut;
  // The step may be the smallest number, which has no absolute value.
  const int64_t length = cut.step == std::numeric_limits<int64_t>::min() ? size + 1 : std::abs(cut.step);
  cut.count = (distance - 1) / length + 1;
  return cut;
}

Text cut_text(const Text& text, const Value* begin, const Value* end, const Value* step) {
  const std::string& bytes = text.bytes();
  const size_t length = num_characters(bytes);
  const Cut cut = cut_of(static_cast<int64_t>(length), begin, end, step);
  if (cut.count == 0) return {};
  if (cut.step == 1) {
    const size_t first = byte_of_character(bytes, static_cast<size_t>(cut.first));
    const std::string_view rest = std::string_view(bytes).substr(first);
    return text.part(first, first + byte_of_character(rest, static_cast<size_t>(cut.count)));
  }
  std::vector<size_t> begins;  // of each character, and the end
  for (size_t at = 0; at < bytes.size(); ++at)
    if ((static_cast<unsigned char>(bytes[at]) & 0xC0) != 0x80) begins.push_back(at);
  begins.push_back(bytes.size());
  Text result;
  for (int64_t i = 0; i < cut.count; ++i) {
    const auto index = static_cast<size_t>(cut.first + i * cut.step);
    result.append_part(text, begins[index], begins[index + 1]);
  }
  return result;
}

}  // namespace

Value slice(Evaluator& evaluator, const Value& subject, const Value* begin, const Value* end,
            const Value* step) {
  if (subject.is_undefined()) throw Fault(subject.undefined_message());
  if (subject.is_safe_text()) fail_safe();
  if (subject.is_text()) {
    evaluator.charge_bytes(std::ssize(subject.bytes()) * (step == nullptr ? 1 : 8));
    return Value::text(cut_text(subject.as_text(), begin, end, step));
  }
  if (!subject.is_indexed())
    throw Fault(fmt::format("expected a text or a list to cut, got {}", subject.type_name()));
  const Cut cut = cut_of(std::ssize(subject.items()), begin, end, step);
  evaluator.charge_bytes(32 * cut.count);
  Values items;
  for (int64_t i = 0; i < cut.count; ++i)
    items.push_back(subject.items()[static_cast<size_t>(cut.first + i * cut.step)]);
  return Value::sequence(subject.kind(), std::move(items));
}

}  // namespace longlora::jinja
