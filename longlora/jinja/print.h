// Writes values as text. Internal to this room.
#pragma once

#include <optional>
#include <string>

#include "longlora/jinja/value.h"

namespace longlora::jinja {

class Evaluator;

/// Returns Python's str() of a value, which {{ }} writes. Parts that were data stay marked. It throws Fault,
/// as to_repr() does, for what Python prints as an address in memory.
Text to_text(Evaluator& evaluator, const Value& value);
/// Returns Python's repr() of a value.
Text to_repr(Evaluator& evaluator, const Value& value);

struct JsonOptions {
  bool ensure_ascii = false;
  std::optional<std::string> indent = {};  // of one level; all in one line without
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

/// Returns what Python's json.dumps() writes.
Text to_json(Evaluator& evaluator, const Value& value, const JsonOptions& options);

/// Returns Python's repr() of a float.
std::string format_float(double value);

}  // namespace longlora::jinja
