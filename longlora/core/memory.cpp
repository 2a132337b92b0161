#include "longlora/core/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/memory_internal.h"

namespace longlora {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

std::string read_or_empty(const fs::path& path) {
  try {
    return read_file(path);
  } catch (const InputError&) {
    return {};
  }
}

std::optional<int64_t> leading_number(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + start, text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) return kUnlimited;  // cgroup v1 writes 2^63 rounded down
  if (error != std::errc{}) return std::nullopt;
  return value;
}

// The number after `key` at the start of a line ("VmRSS:", "inactive_file ").
std::optional<int64_t> find_number(const std::string& text, const std::string& key) {
  size_t at = text.starts_with(key) ? 0 : text.find("\n" + key);
  if (at == std::string::npos) return std::nullopt;
  if (text[at] == '\n') ++at;
  return leading_number(std::string_view(text).substr(at + key.size()));
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& parts, const std::string& wanted) {
  return std::find(parts.begin(), parts.end(), wanted) != parts.end();
}

// One control group hierarchy: where it is mounted, which part of it, and how
// its files are called.
struct Hierarchy {
  fs::path mount;          // as seen from this process
  std::string mount_root;  // the group that the mount point shows
  std::string group;       // this process's group
  const char* limit_file;
  const char* usage_file;
  const char* reclaimable;  // key in memory.stat
};

// Page cache is given back under pressure, so it counts as free.
int64_t left_in_group(const fs::path& folder, const Hierarchy& hierarchy) {
  const auto limit = leading_number(read_or_empty(folder / hierarchy.limit_file));
  const auto usage = leading_number(read_or_empty(folder / hierarchy.usage_file));
  if (!limit || !usage) return kUnlimited;  // "max", or a group without the memory controller
  const int64_t reclaimable =
      find_number(read_or_empty(folder / "memory.stat"), hierarchy.reclaimable).value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - reclaimable));
}

// A group may use what the tightest of its ancestors leaves.
int64_t left_in_hierarchy(const Hierarchy& hierarchy) {
  std::string below = hierarchy.group;
  if (hierarchy.mount_root != "/" && below.starts_with(hierarchy.mount_root)) {
    below = below.substr(hierarchy.mount_root.size());
  }
  int64_t left = left_in_group(hierarchy.mount, hierarchy);
  fs::path folder = hierarchy.mount;
  for (const std::string& name : split(below, '/')) {
    if (name.empty() || name == "..") continue;
    folder /= name;
    left = std::min(left, left_in_group(folder, hierarchy));
  }
  return left;
}

// The process's group in the unified hierarchy (`controller` empty) or in that of a v1 controller.
std::optional<std::string> find_group(const std::string& cgroup_file, const std::string& controller) {
  for (const std::string& line : split(cgroup_file, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool matches =
        controller.empty() ? controllers.empty() : contains(split(controllers, ','), controller);
    if (matches) return line.substr(second + 1);
  }
  return std::nullopt;
}

std::vector<Hierarchy> find_hierarchies(const fs::path& root) {
  const std::string cgroup_file = read_or_empty(root / "proc/self/cgroup");
  std::vector<Hierarchy> found;
  for (const std::string& line : split(read_or_empty(root / "proc/self/mountinfo"), '\n')) {
    // id parent device root mount-point options [optional fields…] - type source options
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 10 || fields.end() - dash < 4 || dash - fields.begin() < 6) continue;
    const fs::path mount = root / fs::path(fields[4]).relative_path();
    if (dash[1] == "cgroup2") {
      if (const auto group = find_group(cgroup_file, "")) {
        found.push_back({mount, fields[3], *group, "memory.max", "memory.current", "inactive_file "});
      }
    } else if (dash[1] == "cgroup" && contains(split(dash[3], ','), "memory")) {
      if (const auto group = find_group(cgroup_file, "memory")) {
        found.push_back({mount, fields[3], *group, "memory.limit_in_bytes", "memory.usage_in_bytes",
                         "total_inactive_file "});
      }
    }
  }
  return found;
}

}  // namespace

int64_t internal::available_memory_bytes(const fs::path& root) {
  const std::string meminfo = read_or_empty(root / "proc/meminfo");
  int64_t available = kUnlimited;
  if (const auto kib = find_number(meminfo, "MemAvailable:")) {
    available = *kib * 1024;
  } else if (const auto free_kib = find_number(meminfo, "MemFree:")) {
    available = *free_kib * 1024;
  }
  for (const Hierarchy& hierarchy : find_hierarchies(root)) {
    available = std::min(available, left_in_hierarchy(hierarchy));
  }
  return available;
}

int64_t available_memory_bytes() {
  return internal::available_memory_bytes("/");
}

int64_t peak_rss_bytes() {
  // getrusage() would count the peak of the process that started this one.
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
