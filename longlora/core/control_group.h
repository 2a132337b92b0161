// The control groups (v1 and v2) that limit this process, as their files show them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::internal {

/// The folder of one control group.
struct ControlGroup {
  std::filesystem::path folder;
  bool unified;  // version 2, whose files have other names than those of version 1
};

/// The groups of `controller` ("memory", "cpu") that this process is in. Of each hierarchy the group at its
/// mount point comes first and the process's own last; the limits of all of them hold for the process. The
/// function reads files under `root`, which is "/" for this machine, and returns nothing where the process is
/// in no group.
std::vector<ControlGroup> control_groups(const std::filesystem::path& root, const std::string& controller);

/// The content of a file of /proc or /sys, or an empty string where it cannot be read.
std::string read_or_empty(const std::filesystem::path& path);

/// The number with which a text begins, blanks aside, or INT64_MAX where it is larger than that. Returns
/// nullopt where the text begins with something else, such as "max".
std::optional<int64_t> leading_number(std::string_view text);

}  // namespace longlora::internal
