#include "longlora/core/file_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

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

std::optional<int> descriptor_behind(const fs::path& path) {
  constexpr int kMostLinks = 40;  // as many as Linux follows
  const fs::path own = fmt::format("/proc/{}/fd", ::getpid());
  fs::path place = path;
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code error;
    const fs::path folder = fs::canonical(parent_folder(place), error);
    if (error) return std::nullopt;
    if (folder == own) {
      const std::string name = place.filename().string();
      int number = -1;
      const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
      if (problem != std::errc() || end != name.data() + name.size() || number < 0) return std::nullopt;
      return number;
    }
    const fs::path target = fs::read_symlink(place, error);
    if (error) return std::nullopt;
    place = folder / target;
  }
  return std::nullopt;
}

fs::path parent_folder(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

std::vector<fs::path> find_siblings(const fs::path& path, const std::string& kind) {
  const std::string prefix = fmt::format(".{}.{}-", path.filename().string(), kind);
  std::vector<fs::path> found;
  try {
    for (const fs::path& name : list_directory(parent_folder(path)))
      if (name.filename().string().starts_with(prefix)) found.push_back(name);
  } catch (const InputError&) {
    // A folder may be writable and not readable: then there is nothing to tidy up, and writing may still
    // work.
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
