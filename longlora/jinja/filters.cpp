#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "longlora/jinja/builtins.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/operators.h"
#include "longlora/jinja/print.h"
#include "longlora/jinja/sequence_filters.h"
#include "longlora/jinja/text_functions.h"

namespace longlora::jinja {

namespace {

using Bound = std::vector<std::optional<Value>>;

// Filters of texts print what is no text.
Text subject_text(Evaluator& evaluator, const Value& subject) {
  return to_text(evaluator, subject);
}

Value upper(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return Value::text(with_case(subject_text(evaluator, subject), Case::kUpper));
}

Value lower(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return Value::text(with_case(subject_text(evaluator, subject), Case::kLower));
}

Value capitalize(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return Value::text(capitalized(subject_text(evaluator, subject)));
}

// Writes the first letter of each word in upper case. Words begin behind white space, "-" and opening
// brackets.
Value title(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  const Text text = subject_text(evaluator, subject);
  Text changed;
  size_t begin = 0;
  const auto is_separator = [&](size_t at) {
    return std::string_view("-({[<").find(text.bytes()[at]) != std::string_view::npos ||
           leading_space(std::string_view(text.bytes()).substr(at, 4)) > 0;
  };
  for (size_t at = 0; at <= text.size();) {
    const bool at_end = at == text.size();
    if (!at_end && !is_separator(at)) {
      ++at;
      continue;
    }
    if (begin < at) {
      const Text word = text.part(begin, at);
      const size_t first = byte_of_character(word.bytes(), 1);
      changed.append(with_case(word.part(0, first), Case::kUpper));
      changed.append(with_case(word.part(first, word.size()), Case::kLower));
    }
    if (at_end) break;
    const size_t space = std::max<size_t>(leading_space(std::string_view(text.bytes()).substr(at, 4)), 1);
    changed.append_part(text, at, std::min(at + space, text.size()));
    at = begin = std::min(at + space, text.size());
  }
  return Value::text(std::move(changed));
}

Value trim(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"chars"});
  return Value::text(stripped(subject_text(evaluator, subject), Side::kBoth, bound[0]));
}

Value replace(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"old", "new", "count"});
  if (!bound[0] || !bound[1]) throw Fault("expected what to replace and what to put there");
  const int64_t count =
      bound[2] && bound[2]->is(Kind::kNone) ? -1 : integer_argument(bound[2], -1, "the count");
  return Value::text(replaced(evaluator, subject_text(evaluator, subject), to_text(evaluator, *bound[0]),
                              to_text(evaluator, *bound[1]), count));
}

Value string(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  if (subject.is_text()) return subject;
  return Value::text(subject_text(evaluator, subject));
}

Value safe(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return Value::safe_text(subject_text(evaluator, subject));
}

Value indent(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"width", "first", "blank"});
  if (!subject.is_text()) throw Fault(fmt::format("expected a text to indent, got {}", subject.type_name()));
  Text space;
  if (bound[0] && bound[0]->is_text()) {
    space = bound[0]->as_text();
  } else {
    const int64_t width = std::max<int64_t>(integer_argument(bound[0], 4, "the width"), 0);
    evaluator.charge_bytes(width);
    space.append(std::string(static_cast<size_t>(width), ' '));
  }
  const bool with_blank = truth_argument(bound[2], false);
  Text text = subject.as_text();
  text.append("\n");
  const Values lines = split_lines(evaluator, text);
  Text result;
  if (truth_argument(bound[1], false)) result.append(space);
  for (size_t i = 0; i < lines.size(); ++i) {
    evaluator.charge_bytes(std::ssize(space.bytes()) + 1);
    if (i > 0) {
      result.append("\n");
      if (with_blank || !lines[i].bytes().empty()) result.append(space);
    }
    result.append(lines[i].as_text());
  }
  return Value::text(std::move(result));
}

Value tojson(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonOptions options;
  options.ensure_ascii = truth_argument(bound[0], false);
  options.sort_keys = truth_argument(bound[3], false);
  if (bound[1] && !bound[1]->is(Kind::kNone)) {
    options.item_separator.pop_back();  // a line end follows instead of a blank
    if (bound[1]->is_text()) {
      options.indent = bound[1]->bytes();
    } else {
      const int64_t width = std::max<int64_t>(integer_argument(bound[1], 0, "indent"), 0);
      evaluator.charge_bytes(width);
      options.indent = std::string(static_cast<size_t>(width), ' ');
    }
  }
  if (bound[2] && !bound[2]->is(Kind::kNone)) {
    const Values parts = evaluator.iterate(*bound[2]);
    if (parts.size() != 2) throw Fault(fmt::format("expected two separators, got {}", parts.size()));
    options.item_separator = text_argument(parts[0], "a separator").bytes();
    options.key_separator = text_argument(parts[1], "a separator").bytes();
  }
  return Value::text(to_json(evaluator, subject, options));
}

Value length(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  if (subject.is_undefined()) return Value::integer(0);
  if (subject.is_text()) return Value::integer(static_cast<int64_t>(num_characters(subject.bytes())));
  if (subject.is(Kind::kDict)) return Value::integer(std::ssize(subject.entries()));
  if (subject.is(Kind::kLoop)) return Value::integer(subject.as<Loop>().count());
  if (!subject.is_sequence() || subject.is(Kind::kGenerator))
    throw Fault(fmt::format("expected something with a length, got {}{}", subject.type_name(),
                            subject.is(Kind::kGenerator) ? "; \"|list\" makes a list of it" : ""));
  return Value::integer(std::ssize(subject.items()));
}

Value or_default(Evaluator&, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"default_value", "boolean"});
  if (!subject.is_undefined() && (!truth_argument(bound[1], false) || subject.is_true())) return subject;
  return bound[0] ? *bound[0] : Value::text("");
}

Value list(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  return Value::sequence(Kind::kList, evaluator.iterate(subject));
}

Value first(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  const Values items = evaluator.iterate(subject);
  return items.empty() ? Value::undefined("there is no first item") : items.front();
}

Value last(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  if (subject.is(Kind::kGenerator))
    throw Fault("expected a list, got a generator; \"|list\" makes a list of it");
  const Values items = evaluator.iterate(subject);
  return items.empty() ? Value::undefined("there is no last item") : items.back();
}

Value reverse(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  if (subject.is_text()) {
    const Value back = Value::integer(-1);
    return slice(evaluator, subject, nullptr, nullptr, &back);
  }
  Values items = evaluator.iterate(subject);
  std::reverse(items.begin(), items.end());
  return Value::sequence(subject.is(Kind::kGenerator) ? Kind::kList : Kind::kGenerator, std::move(items));
}

Value items(Evaluator& evaluator, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  Values pairs;
  if (subject.is_undefined()) return Value::sequence(Kind::kGenerator, std::move(pairs));
  if (!subject.is(Kind::kDict))
    throw Fault(fmt::format("expected a dictionary, got {}", subject.type_name()));
  evaluator.charge_bytes(std::ssize(subject.entries()) * 128);
  for (const auto& [key, value] : subject.entries())
    pairs.push_back(Value::sequence(Kind::kTuple, {key, value}));
  return Value::sequence(Kind::kGenerator, std::move(pairs));
}

Value absolute(Evaluator&, const Value& subject, const Arguments& arguments) {
  arguments.bind({});
  if (subject.is(Kind::kFloat)) return Value::number(std::fabs(subject.as_number()));
  const Value other = negated(subject);
  return other.as_integer() > 0 ? other : negated(other);
}

// Reads a number as Python's float() reads a text.
std::optional<double> read_float(std::string text) {
  std::erase(text, '_');
  std::string_view digits = text;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double value = 0.0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || end != digits.data() + digits.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::nullopt;
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> to_float(const Value& value) {
  if (value.is_numeric()) return value.as_number();
  return value.is_text() ? read_float(stripped(value.as_text(), Side::kBoth, {}).bytes()) : std::nullopt;
}

Value float_filter(Evaluator&, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"default"});
  if (const auto number = to_float(subject)) return Value::number(*number);
  if (subject.is_undefined()) throw Fault(subject.undefined_message());
  return bound[0] ? *bound[0] : Value::number(0.0);
}

std::optional<int64_t> whole_part(double value) {
  if (std::isnan(value)) return std::nullopt;
  if (std::fabs(value) >= 9.2e18) throw Fault("expected a whole number of 64 bits, got a larger one");
  return static_cast<int64_t>(value);
}

Value int_filter(Evaluator&, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"default", "base"});
  if (integer_argument(bound[1], 10, "the base") != 10)
    throw Fault("expected base 10; others are not supported");
  if (subject.is_undefined()) throw Fault(subject.undefined_message());
  const Value otherwise = bound[0] ? *bound[0] : Value::integer(0);
  if (subject.is_integral()) return Value::integer(subject.as_integer());
  if (subject.is_text()) {
    const Text whole = stripped(subject.as_text(), Side::kBoth, {});
    std::string_view digits = whole.bytes();
    const bool has_underscores = digits.find('_') != std::string_view::npos;
    if (digits.starts_with('+')) digits.remove_prefix(1);
    int64_t number = 0;
    const char* end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, number);
    if (!has_underscores && read.ptr == end && read.ec == std::errc::result_out_of_range)
      throw Fault("expected a whole number of 64 bits, got a larger one");
    if (!has_underscores && !digits.empty() && read.ptr == end && read.ec == std::errc())
      return Value::integer(number);
  }
  const auto number = to_float(subject);
  if (!number || std::isinf(*number)) return otherwise;
  const auto whole = whole_part(*number);
  return whole ? Value::integer(*whole) : otherwise;
}

Value round(Evaluator&, const Value& subject, const Arguments& arguments) {
  const Bound bound = arguments.bind({"precision", "method"});
  const int64_t precision = integer_argument(bound[0], 0, "the precision");
  const std::string method = bound[1] ? text_argument(bound[1], "the method").bytes() : "common";
  if (!subject.is_numeric())
    throw Fault(fmt::format("expected a number to round, got {}", subject.type_name()));
  if (precision < 0 || precision > 15)
    throw Fault(fmt::format("expected a precision of 0 to 15, got {}", precision));
  if (method == "common") {
    if (subject.is_integral()) return Value::integer(subject.as_integer());
    // Printing rounds to even where two are as near, as Python does.
    return Value::number(
        std::strtod(fmt::format("{:.{}f}", subject.as_number(), precision).c_str(), nullptr));
  }
  if (method != "ceil" && method != "floor")
    throw Fault(fmt::format("expected \"common\", \"ceil\" or \"floor\", got \"{}\"", method));
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = subject.as_number() * scale;
  return Value::number((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

struct Entry {
  std::string_view name;
  FilterFunction function;
};

constexpr std::array kFilters = {
    Entry{"abs", absolute},
    Entry{"capitalize", capitalize},
    Entry{"count", length},
    Entry{"d", or_default},
    Entry{"default", or_default},
    Entry{"dictsort", sequence_filters::dictsort},
    Entry{"first", first},
    Entry{"float", float_filter},
    Entry{"indent", indent},
    Entry{"int", int_filter},
    Entry{"items", items},
    Entry{"join", sequence_filters::join},
    Entry{"last", last},
    Entry{"length", length},
    Entry{"list", list},
    Entry{"lower", lower},
    Entry{"map", sequence_filters::map},
    Entry{"max", sequence_filters::maximum},
    Entry{"min", sequence_filters::minimum},
    Entry{"reject", sequence_filters::reject},
    Entry{"rejectattr", sequence_filters::rejectattr},
    Entry{"replace", replace},
    Entry{"reverse", reverse},
    Entry{"round", round},
    Entry{"safe", safe},
    Entry{"select", sequence_filters::select},
    Entry{"selectattr", sequence_filters::selectattr},
    Entry{"sort", sequence_filters::sort},
    Entry{"string", string},
    Entry{"sum", sequence_filters::sum},
    Entry{"title", title},
    Entry{"tojson", tojson},
    Entry{"trim", trim},
    Entry{"unique", sequence_filters::unique},
    Entry{"upper", upper},
};

}  // namespace

FilterFunction find_filter(std::string_view name) {
  const auto found =
      std::find_if(kFilters.begin(), kFilters.end(), [&](const Entry& entry) { return entry.name == name; });
  return found == kFilters.end() ? nullptr : found->function;
}

std::string filter_names() {
  std::vector<std::string_view> names;
  names.reserve(kFilters.size());
  for (const Entry& entry : kFilters) names.push_back(entry.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace longlora::jinja
