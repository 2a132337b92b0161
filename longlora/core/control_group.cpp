#include "longlora/core/control_group.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>

#include "longlora/core/error.h"
#include "longlora/core/file.h"

namespace longlora::internal {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& parts, const std::string& wanted) {
  return std::find(parts.begin(), parts.end(), wanted) != parts.end();
}

// Where a hierarchy of groups is mounted, and which part of it.
struct Hierarchy {
  fs::path mount;          // as seen from this process
  std::string mount_root;  // the group that the mount point shows
  std::string group;       // this process's group
  bool unified;
};

// The group that this process has in the unified hierarchy (`controller` empty) or in that of a v1
// controller.
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

std::vector<Hierarchy> find_hierarchies(const fs::path& root, const std::string& controller) {
  const std::string cgroup_file = read_or_empty(root / "proc/self/cgroup");
  std::vector<Hierarchy> found;
  for (const std::string& line : split(read_or_empty(root / "proc/self/mountinfo"), '\n')) {
    // A line reads: id parent device root mount-point options [optional fields…] - type source options
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 10 || fields.end() - dash < 4 || dash - fields.begin() < 6) continue;
    const bool unified = dash[1] == "cgroup2";
    if (!unified && !(dash[1] == "cgroup" && contains(split(dash[3], ','), controller))) continue;
    if (const auto group = find_group(cgroup_file, unified ? "" : controller))
      found.push_back({root / fs::path(fields[4]).relative_path(), fields[3], *group, unified});
  }
  return found;
}

}  // namespace

std::vector<ControlGroup> control_groups(const fs::path& root, const std::string& controller) {
  std::vector<ControlGroup> groups;
  for (const Hierarchy& hierarchy : find_hierarchies(root, controller)) {
    std::string below = hierarchy.group;
    if (hierarchy.mount_root != "/" && below.starts_with(hierarchy.mount_root))
      below = below.substr(hierarchy.mount_root.size());
    fs::path folder = hierarchy.mount;
    groups.push_back({folder, hierarchy.unified});
    for (const std::string& name : split(below, '/')) {
      if (name.empty() || name == "..") continue;
      folder /= name;
      groups.push_back({folder, hierarchy.unified});
    }
  }
  return groups;
}

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
  // Where there is no limit, v1 writes 2^63 rounded down.
  if (error == std::errc::result_out_of_range) return std::numeric_limits<int64_t>::max();
  if (error != std::errc{}) return std::nullopt;
  return value;
}

}  // namespace longlora::internal
