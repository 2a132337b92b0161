// Guards that hold for as long as a part of a template is evaluated. Internal to evaluator.cpp and
// expressions.cpp.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"

namespace longlora::jinja {

// Counts one more level of evaluation for as long as the object lives. Throws Fault beyond the limit.
class Evaluator::Nested {
 public:
  explicit Nested(Evaluator& evaluator) : evaluator_(evaluator) {
    if (++evaluator_.depth_ > evaluator_.options_.limits.depth) {
      --evaluator_.depth_;
      throw Fault(
          fmt::format("expected at most {} nested evaluations, got more", evaluator_.options_.limits.depth));
    }
  }
  ~Nested() { --evaluator_.depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Evaluator& evaluator_;
};

/// Gives a variable another value for as long as the object lives.
template <typename T>
class Replaced {
 public:
  Replaced(T& variable, T value) : variable_(variable), old_(std::exchange(variable, std::move(value))) {}
  ~Replaced() { variable_ = std::move(old_); }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

 private:
  T& variable_;
  T old_;
};

}  // namespace longlora::jinja
