#include "longlora/core/file_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "longlora/core/file.h"

namespace longlora::internal {

namespace fs = std::filesystem;

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    value_ = other.release();
  }
  return *this;
}

int Descriptor::release() {
  const int value = value_;
  value_ = -1;
  return value;
}

void Descriptor::reset() {
  if (value_ >= 0) ::close(value_);
  value_ = -1;
}

namespace {

const char* advice(int error_number) {
  switch (error_number) {
    case ENOSPC:
      return "free space on that disk or write elsewhere";
    case EDQUOT:
      return "free space within your quota or write elsewhere";
    case EFBIG:
      return "raise the file size limit (ulimit -f) or write elsewhere";
    case EACCES:
    case EPERM:
      return "get permission to write there or choose another path";
    case EROFS:
      return "the file system is read-only: choose another path";
    case ENOENT:
      return "create the folder first or correct the path";
    case ENOTDIR:
      return "a part of the path is a file: correct the path";
    case EISDIR:
      return "a folder has that name: choose another path";
    case ENAMETOOLONG:
      return "choose a shorter name";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    default:
      return "check the disk and the path";
  }
}

}  // namespace

ResourceError write_error(const fs::path& path, const std::string& action, int error_number) {
  return ResourceError(fmt::format("[{}] expected to {}, got {}; {}", path.string(), action,
                                   std::strerror(error_number), advice(error_number)));
}

fs::path resolve_target(const fs::path& path) {
  std::error_code ignored;
  fs::path result = fs::absolute(path, ignored).lexically_normal();
  if (ignored) result = path.lexically_normal();
  if (!result.has_filename()) result = result.parent_path();
  struct stat info;
  if (::lstat(result.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
    const fs::path followed = fs::canonical(result, ignored);
    if (!ignored) return followed;
  }
  return result;
}

fs::path parent_folder(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

fs::path sibling_name(const fs::path& path, const std::string& kind) {
  static std::atomic<unsigned> counter{0};
  return parent_folder(path) /
         fmt::format(".{}.{}-{}-{}", path.filename().string(), kind, ::getpid(), counter.fetch_add(1));
}

std::vector<fs::path> find_siblings(const fs::path& path, const std::string& kind) {
  const std::string prefix = fmt::format(".{}.{}-", path.filename().string(), kind);
  std::vector<fs::path> found;
  try {
    for (const fs::path& name : list_directory(parent_folder(path))) {
      if (name.filename().string().starts_with(prefix)) found.push_back(name);
    }
  } catch (const InputError&) {
    // Write permission without read permission: nothing to tidy, writing may still work.
  }
  return found;
}

LockResult try_lock(int descriptor) {
  int result;
  do {
    result = ::flock(descriptor, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return LockResult::kLocked;
  return errno == EWOULDBLOCK ? LockResult::kHeldElsewhere : LockResult::kUnsupported;
}

int remove_tree(const fs::path& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) return errno == ENOENT ? 0 : errno;
  if (!S_ISDIR(info.st_mode)) return ::unlink(path.c_str()) == 0 ? 0 : errno;
  int first_error = 0;
  try {
    for (const fs::path& child : list_directory(path)) {
      const int error_number = remove_tree(child);
      if (first_error == 0) first_error = error_number;
    }
  } catch (const InputError&) {
    first_error = EACCES;
  }
  if (::rmdir(path.c_str()) != 0 && first_error == 0) first_error = errno;
  return first_error;
}

void sync_directory(const fs::path& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.is_open()) throw write_error(path, "open the folder", errno);
  // Some network file systems cannot sync a folder; they order renames themselves.
  if (::fsync(folder.get()) != 0 && errno != EINVAL && errno != ENOTSUP) {
    throw write_error(path, "sync the folder", errno);
  }
}

void sync_tree(const fs::path& path) {
  for (const fs::path& child : list_directory(path)) {
    struct stat info;
    if (::lstat(child.c_str(), &info) != 0) throw write_error(child, "find a file just written", errno);
    if (S_ISDIR(info.st_mode)) {
      sync_tree(child);
    } else if (S_ISREG(info.st_mode)) {
      const Descriptor file(::open(child.c_str(), O_RDONLY | O_CLOEXEC));
      if (!file.is_open()) throw write_error(child, "open the file to sync it", errno);
      if (::fsync(file.get()) != 0) throw write_error(child, "sync the file to disk", errno);
    }
  }
  sync_directory(path);
}

}  // namespace longlora::internal
