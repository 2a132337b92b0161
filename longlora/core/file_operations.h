// POSIX operations on files and folders. They stand in for std::filesystem's directory iterators and
// remove_all, whose symbols libtorch exports in a version of its own.
#pragma once

#include <filesystem>
#include <string>

#include "longlora/core/error.h"

namespace longlora {

/// The error of a failed system call on `path`: "[path] expected to <action>,
/// got <strerror>; <what to do>".
ResourceError write_error(const std::filesystem::path& path, const std::string& action, int error_number);

/// A name for a temporary sibling of `path` that no other live process uses: ".NAME.<kind>-<pid>-<n>".
std::filesystem::path sibling_name(const std::filesystem::path& path, const std::string& kind);

/// Removes a file or a folder with all it holds. Returns 0 or the errno of the first failure.
int remove_tree(const std::filesystem::path& path);

/// Calls fsync on the folder, which brings its list of names to the disk. Throws ResourceError.
void sync_directory(const std::filesystem::path& path);

}  // namespace longlora
