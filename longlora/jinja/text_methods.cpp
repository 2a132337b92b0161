#include "longlora/jinja/text_methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "longlora/core/utf8.h"
#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/print.h"
#include "longlora/jinja/text_functions.h"

namespace longlora::jinja {

namespace {

using Bound = std::vector<std::optional<Value>>;

template <Side WhichSide>
Value strip(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  evaluator.charge_bytes(std::ssize(self.bytes()));
  return Value::text(stripped(self.as_text(), WhichSide, arguments.bind({"chars"})[0]));
}

template <Case To>
Value change(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  arguments.bind({});
  evaluator.charge_bytes(std::ssize(self.bytes()));
  return Value::text(with_case(self.as_text(), To));
}

Value capitalize(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  arguments.bind({});
  evaluator.charge_bytes(std::ssize(self.bytes()));
  return Value::text(capitalized(self.as_text()));
}

// Writes letters behind letters in lower case and others in upper case.
Value title(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  arguments.bind({});
  const Text& text = self.as_text();
  evaluator.charge_bytes(std::ssize(text.bytes()) * 4);
  Text changed;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t code = next_character(text.bytes(), at);
    changed.append(with_case(text.part(begin, at), inside ? Case::kLower : Case::kTitle));
    inside = is_cased(code);
  }
  return Value::text(std::move(changed));
}

// The part of a text, in bytes, that optional arguments state in characters.
struct Window {
  size_t begin, end;
};

Window window_of(const std::string& bytes, const std::optional<Value>& begin,
                 const std::optional<Value>& end) {
  const auto length = static_cast<int64_t>(num_characters(bytes));
  const auto place = [&](const std::optional<Value>& part, int64_t otherwise) {
    if (!part || part->is(Kind::kNone)) return otherwise;
    const int64_t index = integer_argument(part, 0, "a place");
    return index < 0 ? std::max<int64_t>(index + length, 0) : index;
  };
  const int64_t first = place(begin, 0), last = std::min(place(end, length), length);
  if (first > length || last < first) return {1, 0};  // nothing is there, not even the empty text
  return {byte_of_character(bytes, static_cast<size_t>(first)),
          byte_of_character(bytes, static_cast<size_t>(last))};
}

template <bool AtStart>
Value has_end(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"prefix", "start", "end"});
  evaluator.charge_bytes(std::ssize(self.bytes()));
  const Window window = window_of(self.bytes(), bound[1], bound[2]);
  const auto matches = [&](const Value& word) {
    const std::string& part = text_argument(word, "the words to look for").bytes();
    if (window.begin > window.end) return false;
    const std::string_view text =
        std::string_view(self.bytes()).substr(window.begin, window.end - window.begin);
    return AtStart ? text.starts_with(part) : text.ends_with(part);
  };
  if (bound[0] && bound[0]->is(Kind::kTuple)) {
    const Values& words = bound[0]->items();
    return Value::boolean(std::any_of(words.begin(), words.end(), matches));
  }
  return Value::boolean(matches(bound[0].value_or(Value())));
}

template <bool AtStart>
Value remove_end(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"part"});
  const Text& text = self.as_text();
  evaluator.charge_bytes(std::ssize(text.bytes()));
  const std::string& part = text_argument(bound[0], "what to remove").bytes();
  if (part.empty() || !(AtStart ? text.bytes().starts_with(part) : text.bytes().ends_with(part))) return self;
  return Value::text(AtStart ? text.part(part.size(), text.size()) : text.part(0, text.size() - part.size()));
}

Value replace(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"old", "new", "count"});
  return Value::text(replaced(evaluator, self.as_text(), text_argument(bound[0], "what to replace"),
                              text_argument(bound[1], "what to put there"),
                              integer_argument(bound[2], -1, "the count")));
}

size_t find_first(std::string_view text, std::string_view word, size_t from) {
  const void* at = memmem(text.data() + from, text.size() - from, word.data(), word.size());
  return at == nullptr ? std::string_view::npos
                       : static_cast<size_t>(static_cast<const char*>(at) - text.data());
}

enum class Missing { kMinusOne, kFault };

template <bool FromEnd, Missing IfMissing>
Value find(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"sub", "start", "end"});
  const std::string& word = text_argument(bound[0], "the words to look for").bytes();
  evaluator.charge_bytes(std::ssize(self.bytes()) * 2);
  const Window window = window_of(self.bytes(), bound[1], bound[2]);
  size_t found = std::string_view::npos;
  if (window.begin <= window.end) {
    const std::string_view text =
        std::string_view(self.bytes()).substr(window.begin, window.end - window.begin);
    if (FromEnd) evaluator.charge_bytes(std::ssize(text) * std::min<int64_t>(std::ssize(word), 64));
    found = FromEnd ? text.rfind(word) : find_first(text, word, 0);
  }
  if (found == std::string_view::npos) {
    if (IfMissing == Missing::kFault) throw Fault("expected a text that holds the words looked for");
    return Value::integer(-1);
  }
  const size_t place = window.begin + found;
  return Value::integer(
      static_cast<int64_t>(num_characters(std::string_view(self.bytes()).substr(0, place))));
}

Value count_text(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"sub", "start", "end"});
  const std::string& word = text_argument(bound[0], "the words to count").bytes();
  evaluator.charge_bytes(std::ssize(self.bytes()) * 2);
  const Window window = window_of(self.bytes(), bound[1], bound[2]);
  if (window.begin > window.end) return Value::integer(0);
  const std::string_view text =
      std::string_view(self.bytes()).substr(window.begin, window.end - window.begin);
  if (word.empty()) return Value::integer(static_cast<int64_t>(num_characters(text)) + 1);
  int64_t count = 0;
  for (size_t at = find_first(text, word, 0); at != std::string_view::npos;
       at = find_first(text, word, at + word.size()))
    ++count;
  return Value::integer(count);
}

// Returns the pieces between white space, with at most `most` cuts unless that is negative.
Values split_at_space(Evaluator& evaluator, const Text& text, int64_t most, bool from_end) {
  const std::string_view bytes = text.bytes();
  Values pieces;
  size_t begin = 0, end = bytes.size();
  const auto trim = [&] {
    begin += leading_space(bytes.substr(begin, end - begin));
    end -= trailing_space(bytes.substr(begin, end - begin));
  };
  if (from_end)
    end -= trailing_space(bytes);
  else
    begin = leading_space(bytes);
  if (most < 0) trim();
  while (begin < end) {
    evaluator.charge_bytes(128);
    if (most-- == 0) {
      // The rest keeps the space at its other side.
      pieces.push_back(Value::text(text.part(begin, end)));
      break;
    }
    size_t cut = from_end ? end : begin;
    if (from_end) {
      while (cut > begin && trailing_space(bytes.substr(begin, cut - begin)) == 0) --cut;
      pieces.push_back(Value::text(text.part(cut, end)));
      end = cut - trailing_space(bytes.substr(begin, cut - begin));
    } else {
      while (cut < end && leading_space(bytes.substr(cut, std::min<size_t>(4, end - cut))) == 0) ++cut;
      pieces.push_back(Value::text(text.part(begin, cut)));
      begin = cut + leading_space(bytes.substr(cut, end - cut));
    }
  }
  if (from_end) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Values split_at(Evaluator& evaluator, const Text& text, const std::string& between, int64_t most,
                bool from_end) {
  if (between.empty()) throw Fault("expected words to split at, got an empty text");
  const std::string_view bytes = text.bytes();
  Values pieces;
  size_t begin = 0, end = bytes.size();
  if (from_end) evaluator.charge_bytes(std::ssize(bytes) * std::min<int64_t>(std::ssize(between), 64));
  while (most-- != 0) {
    const std::string_view rest = bytes.substr(begin, end - begin);
    const size_t found = from_end ? rest.rfind(between) : find_first(rest, between, 0);
    if (found == std::string_view::npos) break;
    evaluator.charge_bytes(128);
    if (from_end) {
      pieces.push_back(Value::text(text.part(begin + found + between.size(), end)));
      end = begin + found;
    } else {
      pieces.push_back(Value::text(text.part(begin, begin + found)));
      begin += found + between.size();
    }
  }
  pieces.push_back(Value::text(text.part(begin, end)));
  if (from_end) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

template <bool FromEnd>
Value split(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"sep", "maxsplit"});
  const int64_t most = integer_argument(bound[1], -1, "the number of splits");
  evaluator.charge_bytes(std::ssize(self.bytes()) * 2);
  if (!bound[0] || bound[0]->is(Kind::kNone))
    return Value::sequence(Kind::kList, split_at_space(evaluator, self.as_text(), most, FromEnd));
  return Value::sequence(
      Kind::kList, split_at(evaluator, self.as_text(), text_argument(bound[0], "what to split at").bytes(),
                            most, FromEnd));
}

template <bool FromEnd>
Value partition(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Text& between = text_argument(arguments.bind({"sep"})[0], "what to split at");
  evaluator.charge_bytes(std::ssize(self.bytes()) * 2);
  const Values pieces = split_at(evaluator, self.as_text(), between.bytes(), 1, FromEnd);
  const Value empty = Value::text("");
  if (pieces.size() == 1)
    return Value::sequence(Kind::kTuple, FromEnd ? Values{empty, empty, self} : Values{self, empty, empty});
  return Value::sequence(Kind::kTuple, {pieces[0], Value::text(between), pieces[1]});
}

Value splitlines(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  if (truth_argument(arguments.bind({"keepends"})[0], false))
    throw Fault("splitlines(keepends) is not supported");
  evaluator.charge_bytes(std::ssize(self.bytes()));
  return Value::sequence(Kind::kList, split_lines(evaluator, self.as_text()));
}

Value join(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Bound bound = arguments.bind({"iterable"});
  if (!bound[0]) throw Fault("expected texts to join, got nothing");
  const Values items = evaluator.iterate(*bound[0]);
  for (const Value& item : items)
    if (!item.is_text()) throw Fault(fmt::format("expected texts to join, got {}", item.type_name()));
  return Value::text(joined(evaluator, items, self.as_text()));
}

// Whether there are characters, and all of them are of a kind.
template <bool (*IsOfKind)(char32_t)>
Value all_are(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  arguments.bind({});
  const std::string& bytes = self.bytes();
  evaluator.charge_bytes(std::ssize(bytes) * 4);
  for (size_t at = 0; at < bytes.size();)
    if (!IsOfKind(next_character(bytes, at))) return Value::boolean(false);
  return Value::boolean(!bytes.empty());
}

// Whether there are letters with case, and all of them have this one.
template <bool (*HasCase)(char32_t)>
Value cased_are(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  arguments.bind({});
  const std::string& bytes = self.bytes();
  evaluator.charge_bytes(std::ssize(bytes) * 4);
  bool any = false;
  for (size_t at = 0; at < bytes.size();) {
    const char32_t code = next_character(bytes, at);
    if (is_cased(code) && !HasCase(code)) return Value::boolean(false);
    any = any || is_cased(code);
  }
  return Value::boolean(any);
}

struct Entry {
  std::string_view name;
  MethodFunction function;
};

constexpr std::array kTextMethods = {
    Entry{"capitalize", capitalize},
    Entry{"count", count_text},
    Entry{"endswith", has_end<false>},
    Entry{"find", find<false, Missing::kMinusOne>},
    Entry{"index", find<false, Missing::kFault>},
    Entry{"isalpha", all_are<is_letter>},
    Entry{"isdigit", all_are<is_digit>},
    Entry{"islower", cased_are<is_lower>},
    Entry{"isspace", all_are<is_space>},
    Entry{"isupper", cased_are<is_upper>},
    Entry{"join", join},
    Entry{"lower", change<Case::kLower>},
    Entry{"lstrip", strip<Side::kLeft>},
    Entry{"partition", partition<false>},
    Entry{"removeprefix", remove_end<true>},
    Entry{"removesuffix", remove_end<false>},
    Entry{"replace", replace},
    Entry{"rfind", find<true, Missing::kMinusOne>},
    Entry{"rindex", find<true, Missing::kFault>},
    Entry{"rpartition", partition<true>},
    Entry{"rsplit", split<true>},
    Entry{"rstrip", strip<Side::kRight>},
    Entry{"split", split<false>},
    Entry{"splitlines", splitlines},
    Entry{"startswith", has_end<true>},
    Entry{"strip", strip<Side::kBoth>},
    Entry{"title", title},
    Entry{"upper", change<Case::kUpper>},
};

}  // namespace

MethodFunction find_text_method(std::string_view name) {
  const auto found = std::find_if(kTextMethods.begin(), kTextMethods.end(),
                                  [&](const Entry& entry) { return entry.name == name; });
  return found == kTextMethods.end() ? nullptr : found->function;
}

std::vector<std::string_view> text_method_names() {
  std::vector<std::string_view> names;
  names.reserve(kTextMethods.size());
  for (const Entry& entry : kTextMethods) names.push_back(entry.name);
  return names;
}

}  // namespace longlora::jinja
