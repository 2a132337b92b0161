#include "longlora/core/file_operations.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"

namespace longlora {

namespace fs = std::filesystem;

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

fs::path sibling_name(const fs::path& path, const std::string& kind) {
  static std::atomic<unsigned> counter{0};
  return internal::parent_folder(path) /
         fmt::format(".{}.{}-{}-{}", path.filename().string(), kind, ::getpid(), counter.fetch_add(1));
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
  const internal::Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.is_open()) throw write_error(path, "open the folder", errno);
  // Some network file systems cannot sync a folder; they order renames themselves.
  if (::fsync(folder.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
    throw write_error(path, "sync the folder", errno);
}

}  // namespace longlora
