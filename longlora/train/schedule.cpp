#include "longlora/train/schedule.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"

namespace longlora::train {
namespace {

// Defaults of transformers: the time scale in steps of an inverse square root without warm-up, and the rate
// at which a polynomial ends.
constexpr double kInverseSqrtTimescale = 10000.0, kPolynomialEnd = 1e-7;

}  // namespace

const std::vector<std::string>& schedule_names() {
  static const std::vector<std::string> names = {
      "constant_with_warmup", "constant",   "linear",      "cosine",
      "cosine_with_restarts", "polynomial", "inverse_sqrt"};
  return names;
}

ScheduleType schedule_from_name(const std::string& name) {
  const auto& names = schedule_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw UsageError(
        fmt::format("[--lr_scheduler_type] expected one of {}, got {}", fmt::join(names, ", "), name));
  return static_cast<ScheduleType>(found - names.begin());
}

double Schedule::learning_rate(int64_t step) const {
  if (type == ScheduleType::kConstant) return peak_learning_rate;
  const auto warmup = static_cast<double>(warmup_steps), at = static_cast<double>(step);
  if (step < warmup_steps) return peak_learning_rate * at / warmup;
  if (type == ScheduleType::kConstantWithWarmup) return peak_learning_rate;
  if (type == ScheduleType::kInverseSqrt) {
    const double timescale = warmup_steps > 0 ? warmup : kInverseSqrtTimescale;
    return peak_learning_rate / std::sqrt((at + timescale - warmup) / timescale);
  }
  const auto span = static_cast<double>(std::max<int64_t>(1, max_steps - warmup_steps));
  const double progress = std::min(1.0, (at - warmup) / span);
  if (type == ScheduleType::kLinear) return peak_learning_rate * (1.0 - progress);
  if (type == ScheduleType::kPolynomial)
    return kPolynomialEnd + (peak_learning_rate - kPolynomialEnd) * (1.0 - progress);
  return peak_learning_rate * 0.5 * (1.0 + std::cos(M_PI * progress));
}

double Schedule::highest_learning_rate() const {
  // No type rises after the warm-up.
  return learning_rate(std::clamp<int64_t>(max_steps - 1, 0, warmup_steps));
}

}  // namespace longlora::train
