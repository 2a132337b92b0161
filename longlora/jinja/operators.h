// Computes Python's operators. Internal to this room.
#pragma once

#include <string_view>

#include "longlora/jinja/value.h"

namespace longlora::jinja {

class Evaluator;

/// Computes `a name b`, where `name` is one of + - * / // % **. Throws Fault for kinds that have no such
/// operation, for a result beyond 64 bits and for a division by zero.
Value binary(Evaluator& evaluator, std::string_view name, const Value& a, const Value& b);
/// Throws the Fault for work on a text that the filter "safe" has made, other than writing and joining it.
[[noreturn]] void fail_safe();
Value negated(const Value& value);
/// Whether `a name b` holds, where `name` is one of == != < <= > >= in "not in".
bool compares(Evaluator& evaluator, std::string_view name, const Value& a, const Value& b);
bool contains(Evaluator& evaluator, const Value& container, const Value& item);
/// Computes subject[begin:end:step], with null for a part that was left out. Throws Fault for a subject that
/// cannot be cut.
Value slice(Evaluator& evaluator, const Value& subject, const Value* begin, const Value* end,
            const Value* step);
/// Returns the item of a list, counted from the end where `index` is negative, or null where there is none.
const Value* find_index(const Value& list, int64_t index);

}  // namespace longlora::jinja
