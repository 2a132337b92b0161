// Learning-rate schedules, as transformers.optimization computes them.
#pragma once

#include <cstdint>
#include <string>

namespace longlora::train {

enum class ScheduleType { kConstantWithWarmup, kLinear, kCosine };

/// "constant_with_warmup", "linear", "cosine"; throws UsageError otherwise.
ScheduleType schedule_from_name(const std::string& name);

struct Schedule {
  ScheduleType type = ScheduleType::kConstantWithWarmup;
  double peak_learning_rate = 2e-5;
  int64_t warmup_steps = 0;
  int64_t max_steps = 0;

  /// The rate of the update number `step` (0-based): rises linearly from 0 over
  /// warmup_steps, then follows the type down to 0 at max_steps.
  double learning_rate(int64_t step) const;
  /// The largest of all updates.
  double highest_learning_rate() const;
};

}  // namespace longlora::train
