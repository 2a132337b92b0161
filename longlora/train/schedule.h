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

/// Returns transformers' names of the types, in the order of the types: "constant_with_warmup", "linear" and
/// so on.
const std::vector<std::string>& schedule_names();
/// Returns the type with that name. Throws UsageError for a name that is not among schedule_names().
ScheduleType schedule_from_name(const std::string& name);

struct Schedule {
  ScheduleType type = ScheduleType::kConstantWithWarmup;
  double peak_learning_rate = 2e-5;
  int64_t warmup_steps = 0;
  int64_t max_steps = 0;

  /// Returns the rate of an update; the first update is step 0. Except for kConstant, it rises linearly from
  /// 0 over warmup_steps. Then it follows the type: most fall to 0 at max_steps, kPolynomial on a straight
  /// line (power 1) to 1e-7, and kInverseSqrt with the inverse square root of the steps. kCosineWithRestarts
  /// has one cycle.
  double learning_rate(int64_t step) const;
  /// Returns the highest rate of all updates.
  double highest_learning_rate() const;
};

}  // namespace longlora::train
