// POSIX file operations that only the writers of this room share.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/file_operations.h"

namespace longlora::internal {

/// A file descriptor that closes itself. Move-only.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : value_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  int get() const { return value_; }
  bool is_open() const { return value_ >= 0; }
  int release();
  void reset();

 private:
  int value_ = -1;
};

/// `path` made absolute, without "." components or a trailing slash. A link that leads somewhere is followed,
/// so that the file that it leads to is replaced and the link stays.
std::filesystem::path resolve_target(const std::filesystem::path& path);

/// The descriptor of this process that `path` leads to by way of /proc/self/fd: /dev/stdout, /dev/fd/3 and
/// links to them. Nothing for any other path.
std::optional<int> descriptor_behind(const std::filesystem::path& path);

/// The folder that holds `path` ("." for a bare name).
std::filesystem::path parent_folder(const std::filesystem::path& path);

/// Siblings of `path` named ".NAME.<kind>-*", sorted; empty when the folder cannot be read.
std::vector<std::filesystem::path> find_siblings(const std::filesystem::path& path, const std::string& kind);

enum class LockResult { kLocked, kHeldElsewhere, kUnsupported };

/// Takes the advisory lock that marks a temporary as in use; it ends with the process.
LockResult try_lock(int descriptor);

/// Calls fsync on every regular file below `path` and on every folder, innermost first. Throws ResourceError.
void sync_tree(const std::filesystem::path& path);

enum class Replacement { kExchangeWhenPossible, kRenameAside };

/// Makes the folder `staging` appear at `final_path`. A folder that was there is taken away without a moment
/// in which both are lost: the two are exchanged in one step where the file system can do that; otherwise the
/// old one is renamed aside first (see repair_directory). Throws ResourceError.
void publish_directory(const std::filesystem::path& staging, const std::filesystem::path& final_path,
                       Replacement replacement = Replacement::kExchangeWhenPossible);

}  // namespace longlora::internal
