// JSON that holds many objects: a list, lines, or objects one after the other.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::data {

/// The text of each sample of a file. For lines and objects one after the other, the number of the line at
/// which it begins, too.
struct CutSamples {
  std::vector<std::string_view> samples;
  std::vector<size_t> lines;

  /// "file.json, sample 7" counted from 0, as a list in Python is; "file.jsonl:8" where there are lines.
  std::string place(const std::string& source, size_t index) const;
};

/// Cuts JSON into its objects without parsing them. What it begins like decides: a list; an object that goes
/// on behind its line, and others after it; else a line each. `source` names the file in the InputError: no
/// samples, a list that is not closed or has something else between its elements, text that is no JSON at
/// all, UTF-16.
CutSamples cut_samples(std::string_view text, const std::string& source);

/// Whether a text begins as a file of JSON objects does, whatever it is called: with an object that has a
/// field, and either another one after it or one of the fields that `is_known` knows. A text that merely
/// begins with a bracket does not.
bool holds_json(std::string_view text, const std::function<bool(const Json& object)>& is_known);

/// One object. Numbers that are none (NaN, Infinity) or beyond a double, which Python and others write,
/// become one that is_finite() is false for. `place` names the sample in the InputError: a syntax error, no
/// object, bytes that are no UTF-8.
Json parse_sample(std::string_view json, const std::string& place);

/// False for a number that parse_sample() put in the place of one that is not finite.
bool is_finite(const Json& number);

/// What a value is, for messages: JSON's name of its type, or "number that is not finite".
const char* kind_of(const Json& value);

/// "a, b, c".
std::string field_names(const Json& object);

}  // namespace longlora::data
