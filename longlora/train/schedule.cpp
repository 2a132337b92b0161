#include "longlora/train/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"

namespace longlora::train {

ScheduleType schedule_from_name(const std::string& name) {
  if (name == "constant_with_warmup") return ScheduleType::kConstantWithWarmup;
  if (name == "linear") return ScheduleType::kLinear;
  if (name == "cosine") return ScheduleType::kCosine;
  throw UsageError(
      fmt::format("[lr_scheduler_type] expected constant_with_warmup, linear or cosine, got {}", name));
}

double Schedule::learning_rate(int64_t step) const {
  if (step < warmup_steps)
    return peak_learning_rate * static_cast<double>(step) / static_cast<double>(warmup_steps);
  if (type == ScheduleType::kConstantWithWarmup) return peak_learning_rate;
  const auto span = static_cast<double>(std::max<int64_t>(1, max_steps - warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) / span);
  if (type == ScheduleType::kLinear) return peak_learning_rate * (1.0 - progress);
  return peak_learning_rate * 0.5 * (1.0 + std::cos(M_PI * progress));
}

double Schedule::highest_learning_rate() const {
  // No type rises behind the warm-up.
  return learning_rate(std::clamp<int64_t>(max_steps - 1, 0, warmup_steps));
}

}  // namespace longlora::train
