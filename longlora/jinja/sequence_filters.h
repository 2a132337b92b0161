// Filters that work on what has items, and on attributes of the items. Internal to this room.
#pragma once

#include "longlora/jinja/builtins.h"

namespace longlora::jinja::sequence_filters {

/// These are jinja2's filters of the same names; minimum and maximum are "min" and "max".
Value join(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value sort(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value dictsort(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value unique(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value minimum(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value maximum(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value sum(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value map(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value select(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value reject(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value selectattr(Evaluator& evaluator, const Value& subject, const Arguments& arguments);
Value rejectattr(Evaluator& evaluator, const Value& subject, const Arguments& arguments);

}  // namespace longlora::jinja::sequence_filters
