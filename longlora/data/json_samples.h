// JSON that holds many objects: a list, lines, or objects one after the other.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::data {

/// The text of each sample of a file. Where the file has lines, or objects one after the other, the number of
/// the line at which each sample begins is there, too.
struct CutSamples {
  std::vector<std::string_view> samples;
  std::vector<size_t> lines;

  /// Names a sample: "file.json, sample 7", counted from 0 as in a list in Python, or "file.jsonl:8" where
  /// there are lines.
  std::string place(const std::string& source, size_t index) const;
};

/// Cuts JSON into its objects without parsing them. The beginning decides how: as a list; as objects one
/// after the other, where the first one goes on behind its line; otherwise as one object a line. `source`
/// names the file in the InputError for a file without samples, a list that is not closed or has something
/// else between its elements, text that is no JSON at all, and UTF-16.
CutSamples cut_samples(std::string_view text, const std::string& source);

/// The first object of a list, of lines, or of objects one after the other; nullopt where the text begins
/// with something else or with an object that is broken.
std::optional<Json> first_object(std::string_view text);

/// Whether a text begins as a file of JSON objects does, whatever the file is called: with an object that has
/// a field, and then either another object or one of the fields that `is_known` knows. A text that merely
/// begins with a bracket does not.
bool holds_json(std::string_view text, const std::function<bool(const Json& object)>& is_known);

/// Parses one object. Numbers that are no numbers (NaN, Infinity) or are beyond a double, which Python and
/// others write, become a number for which is_finite() is false. `place` names the sample in the InputError
/// for a syntax error, for what is no object, and for bytes that are no UTF-8.
Json parse_sample(std::string_view json, const std::string& place);

/// Whether a number is not one that parse_sample() put in the place of one that is not finite.
bool is_finite(const Json& number);

/// The kind of a value for messages: JSON's name of its type, or "number that is not finite".
const char* kind_of(const Json& value);

/// The names of an object's fields: "a, b, c".
std::string field_names(const Json& object);

}  // namespace longlora::data
