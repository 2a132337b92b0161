#include "longlora/forward/memory_budget.h"

#include <fmt/format.h>

#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/tensors/device.h"

namespace longlora::forward {
namespace {

// The share of the free memory that a run takes where the user gives no budget.
constexpr double kBudgetShare = 0.8;

}  // namespace

int64_t memory_budget(int64_t asked_bytes, at::Device device) {
  const int64_t most =
      device.is_cpu() ? available_memory_bytes() + current_rss_bytes() : tensors::free_memory_bytes(device);
  if (asked_bytes == 0) return static_cast<int64_t>(kBudgetShare * static_cast<double>(most));
  if (asked_bytes <= most) return asked_bytes;
  log_warning(fmt::format("--memory_budget is {}, but only {} are free: planning for those",
                          format_bytes(asked_bytes), format_bytes(most)));
  return most;
}

}  // namespace longlora::forward
