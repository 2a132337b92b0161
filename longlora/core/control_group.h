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
  bool unified;  // v2, whose files have other names than those of v1
};

/// The groups of `controller` ("memory", "cpu") that this process is in: of each hierarchy the group at its
/// mount point first, then down to the process's own. A limit of any of them holds for the process.
/// Files are looked for under `root`, "/" for this machine. Empty where there are none.
std::vector<ControlGroup> control_groups(const std::filesystem::path& root, const std::string& controller);

/// A file of /proc or /sys; empty where it cannot be read.
std::string read_or_empty(const std::filesystem::path& path);

/// The number at the start of a text behind blanks, INT64_MAX where it is larger; nothing for other texts, as
/// "max".
std::optional<int64_t> leading_number(std::string_view text);

}  // namespace longlora::internal
