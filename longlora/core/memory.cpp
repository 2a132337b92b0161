#include "longlora/core/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "longlora/core/control_group.h"
#include "longlora/core/memory_internal.h"

namespace longlora {

namespace fs = std::filesystem;

namespace {

using internal::leading_number;
using internal::read_or_empty;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The number that follows `key` ("VmRSS:", "inactive_file ") at the start of a line.
std::optional<int64_t> find_number(const std::string& text, const std::string& key) {
  size_t at = text.starts_with(key) ? 0 : text.find("\n" + key);
  if (at == std::string::npos) return std::nullopt;
  if (text[at] == '\n') ++at;
  return leading_number(std::string_view(text).substr(at + key.size()));
}

// What the group leaves to the process. Page cache counts as free, because the system gives it back under
// pressure.
int64_t left_in_group(const internal::ControlGroup& group) {
  const bool v2 = group.unified;
  const auto read = [&](const char* name) { return read_or_empty(group.folder / name); };
  const auto limit = leading_number(read(v2 ? "memory.max" : "memory.limit_in_bytes"));
  const auto usage = leading_number(read(v2 ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit || !usage) return kUnlimited;  // "max", or a group without the memory controller
  const int64_t reclaimable =
      find_number(read("memory.stat"), v2 ? "inactive_file " : "total_inactive_file ").value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - reclaimable));
}

}  // namespace

int64_t internal::available_memory_bytes(const fs::path& root) {
  const std::string meminfo = read_or_empty(root / "proc/meminfo");
  int64_t available = kUnlimited;
  if (const auto kib = find_number(meminfo, "MemAvailable:"))
    available = *kib * 1024;
  else if (const auto free_kib = find_number(meminfo, "MemFree:"))
    available = *free_kib * 1024;
  for (const ControlGroup& group : control_groups(root, "memory"))
    available = std::min(available, left_in_group(group));
  return available;
}

int64_t available_memory_bytes() {
  return internal::available_memory_bytes("/");
}

int64_t peak_rss_bytes() {
  // The peak that getrusage() tells would include that of the process which started this one.
  if (const auto kib = find_number(read_or_empty("/proc/self/status"), "VmHWM:")) return *kib * 1024;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

int64_t current_rss_bytes() {
  const auto kib = find_number(read_or_empty("/proc/self/status"), "VmRSS:");
  return kib ? *kib * 1024 : peak_rss_bytes();
}

}  // namespace longlora
