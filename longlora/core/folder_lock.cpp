#include "longlora/core/folder_lock.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"
#include "longlora/core/log.h"

namespace longlora {
namespace {

namespace fs = std::filesystem;

using FolderIdentity = std::pair<dev_t, ino_t>;

FolderIdentity identity(const struct stat& info) {
  return {info.st_dev, info.st_ino};
}

// The folders on the way to `path` that do not exist yet, outermost first.
std::vector<fs::path> missing_folders(fs::path path) {
  std::vector<fs::path> missing;
  struct stat info;
  while (path.has_relative_path() && ::stat(path.c_str(), &info) != 0) {
    missing.insert(missing.begin(), path);
    path = path.parent_path();
  }
  return missing;
}

}  // namespace

FolderLock::FolderLock(int descriptor, std::vector<fs::path> made)
    : descriptor_(descriptor), made_(std::move(made)) {}

FolderLock::~FolderLock() {
  while (!made_.empty() && ::rmdir(made_.back().c_str()) == 0) made_.pop_back();
  ::close(descriptor_);
}

std::shared_ptr<FolderLock> lock_folder(const std::string& flag, const fs::path& folder) {
  static std::map<FolderIdentity, std::weak_ptr<FolderLock>> held;
  const fs::path path = internal::resolve_target(folder);
  std::vector<fs::path> missing = missing_folders(path);
  while (true) {
    make_directories(path);
    internal::Descriptor opened(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat info, again;
    if (!opened.is_open() || ::fstat(opened.get(), &info) != 0)
      throw write_error(folder, "open the folder", errno);
    if (auto lock = held[identity(info)].lock()) return lock;
    const internal::LockResult result = internal::try_lock(opened.get());
    if (result == internal::LockResult::kHeldElsewhere)
      throw UsageError(
          fmt::format("[{} {}] expected a folder that nobody else writes, got one that another longlora is "
                      "writing at the moment; wait for it, or choose another path",
                      flag, folder.string()));
    if (result == internal::LockResult::kUnsupported)
      log_warning(fmt::format("{}: this file system has no locks; see to it that no other run writes there",
                              folder.string()));
    // In between another process may have put a new folder in its place, or removed the empty one.
    if (::stat(path.c_str(), &again) != 0 || identity(again) != identity(info)) continue;
    auto lock = std::make_shared<FolderLock>(opened.release(), std::move(missing));
    held[identity(info)] = lock;
    return lock;
  }
}

}  // namespace longlora
