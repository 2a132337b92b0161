// Learning-rate schedules, as transformers.optimization computes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace longlora::train {

enum class ScheduleType {
  kConstantWithWarmup,
  kConstant,
  kLinear,
  kCosine,
  kCosineWithRestarts,
  kPolynomial,
  kInverseSqrt,
};

/// Names as transformers has them, "constant_with_warmup" and "linear" among them, in the order of the types.
const std::vector<std::string>& schedule_names();
/// Throws UsageError for a name that is none of them.
ScheduleType schedule_from_name(const std::string& name);

struct Schedule {
  ScheduleType type = ScheduleType::kConstantWithWarmup;
  double peak_learning_rate = 2e-5;
  int64_t warmup_steps = 0;
  int64_t max_steps = 0;

  /// The rate of the update number `step` (0-based): rises linearly from 0 over warmup_steps (but under
  /// kConstant), then follows the type: down to 0 at max_steps, or to 1e-7 under kPolynomial (a straight
  /// line, power 1), or with the square root of the steps under kInverseSqrt. kCosineWithRestarts has one
  /// cycle.
  double learning_rate(int64_t step) const;
  /// The largest of all updates.
  double highest_learning_rate() const;
};

}  // namespace longlora::train
