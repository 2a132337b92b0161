#include "longlora/core/processors.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <thread>

#include "longlora/core/control_group.h"

namespace longlora {
namespace {

using internal::leading_number;
using internal::read_or_empty;

// The number of processors whose whole time the group may use, rounded up; nullopt where the group has no
// limit.
std::optional<int64_t> processors_of_group(const internal::ControlGroup& group) {
  std::optional<int64_t> quota, period;
  if (group.unified) {
    const std::string text = read_or_empty(group.folder / "cpu.max");  // "200000 100000" or "max 100000"
    quota = leading_number(text);
    const size_t blank = text.find(' ');
    if (blank != std::string::npos) period = leading_number(std::string_view(text).substr(blank));
  } else {
    quota = leading_number(read_or_empty(group.folder / "cpu.cfs_quota_us"));  // -1: no limit
    period = leading_number(read_or_empty(group.folder / "cpu.cfs_period_us"));
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return *quota / *period + (*quota % *period != 0);
}

int affinity_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int internal::available_processors(int affinity, const std::filesystem::path& root) {
  int64_t processors = affinity;
  for (const ControlGroup& group : control_groups(root, "cpu"))
    processors = std::min(processors, processors_of_group(group).value_or(processors));
  return static_cast<int>(processors);
}

int available_processors() {
  return internal::available_processors(affinity_processors(), "/");
}

}  // namespace longlora
