// How many processors the process may use.
#pragma once

#include <filesystem>

namespace longlora {

/// The processors that the scheduler may put this process on (its affinity), or fewer where a control group
/// (v1 or v2; `docker --cpus 2`) allows less processor time than they have: as many as it allows, rounded up.
int available_processors();

namespace internal {
/// The same for a process with `affinity` processors on a machine whose files lie under `root`.
int available_processors(int affinity, const std::filesystem::path& root);
}  // namespace internal

}  // namespace longlora
