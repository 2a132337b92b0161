// Functions of texts that filters and methods share. Internal to this room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "longlora/jinja/characters.h"
#include "longlora/jinja/value.h"

namespace longlora::jinja {

class Evaluator;

/// Each returns what an argument holds, and throws Fault naming `what` for another kind.
const Text& text_argument(const std::optional<Value>& argument, std::string_view what);
int64_t integer_argument(const std::optional<Value>& argument, int64_t otherwise, std::string_view what);
bool truth_argument(const std::optional<Value>& argument, bool otherwise);

/// The side of a text that is stripped.
enum class Side { kLeft, kRight, kBoth };
/// Strips white space, or where they are given the characters of `characters`, as Python's strip() does.
Text stripped(const Text& text, Side side, const std::optional<Value>& characters);
Text with_case(const Text& text, Case to);
/// Returns the text with its first character in title case and the others in lower case.
Text capitalized(const Text& text);
/// Replaces as Python's replace() does, at most `count` times unless that is negative.
Text replaced(Evaluator& evaluator, const Text& text, const Text& old, const Text& by, int64_t count);
/// Splits as Python's splitlines() does, without the line ends.
Values split_lines(Evaluator& evaluator, const Text& text);
/// Joins items, with `between` between them. Items that are no texts are printed.
Text joined(Evaluator& evaluator, const Values& items, const Text& between);

}  // namespace longlora::jinja
