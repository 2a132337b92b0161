#include "longlora/core/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file_internal.h"
#include "longlora/core/mapped_ranges.h"

namespace longlora {

namespace fs = std::filesystem;

namespace {

InputError read_error(const fs::path& path, const std::string& expected, int error_number) {
  return InputError(
      fmt::format("[{}] expected {}, got: {}", path.string(), expected, std::strerror(error_number)));
}

internal::Descriptor open_regular_file(const fs::path& path, size_t* size) {
  // With O_NONBLOCK a FIFO is opened without a wait for its writer, and can then be refused.
  internal::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.is_open()) throw read_error(path, "a readable file", errno);
  struct stat info;
  if (::fstat(file.get(), &info) != 0) throw read_error(path, "a readable file", errno);
  if (!S_ISREG(info.st_mode)) {
    throw InputError(fmt::format("[{}] expected a regular file, got {}", path.string(),
                                 S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe"));
  }
  *size = static_cast<size_t>(info.st_size);
  return file;
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const internal::Descriptor file = open_regular_file(path, &size_);
  if (size_ == 0) return;  // mmap refuses an empty range
  void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (mapping == MAP_FAILED) throw read_error(path, "a file that can be mapped into memory", errno);
  data_ = static_cast<const std::byte*>(mapping);
  remember_mapping(data_, size_, MappedKind::kInput, path);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  forget_mapping(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(size_t offset, size_t num_bytes) const {
  constexpr size_t kWorthACall = size_t{1} << 16;
  if (num_bytes < kWorthACall) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = offset / page * page;
  ::madvise(const_cast<std::byte*>(data_) + first, offset + num_bytes - first, MADV_DONTNEED);  // a hint
}

void MappedFile::will_need(size_t offset, size_t num_bytes) const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = offset / page * page;
  ::madvise(const_cast<std::byte*>(data_) + first, offset + num_bytes - first, MADV_WILLNEED);  // a hint
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

std::string read_file(const fs::path& path) {
  size_t size = 0;
  const internal::Descriptor file = open_regular_file(path, &size);
  std::string bytes(size, '\0');
  size_t num_read = 0;
  while (true) {
    if (num_read == bytes.size()) {
      // The end may be that of the whole file, but a file may also have grown, or state no size (/proc).
      bytes.resize(bytes.size() + 4096);
    }
    const ssize_t result = ::read(file.get(), bytes.data() + num_read, bytes.size() - num_read);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) throw read_error(path, "a readable file", errno);
    if (result == 0) break;
    num_read += static_cast<size_t>(result);
  }
  bytes.resize(num_read);
  return bytes;
}

std::vector<fs::path> list_directory(const fs::path& path) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) throw read_error(path, "a readable folder", errno);
  std::vector<fs::path> names;
  errno = 0;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(path / name);
    errno = 0;
  }
  const int error_number = errno;
  ::closedir(folder);
  if (error_number != 0) throw read_error(path, "a readable folder", error_number);
  std::sort(names.begin(), names.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  return names;
}

void make_directories(const fs::path& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return;
    throw ResourceError(
        fmt::format("[{}] expected a folder or nothing, got a file of that name; choose "
                    "another path",
                    path.string()));
  }
  const fs::path parent = path.parent_path();
  if (!parent.empty() && parent != path) make_directories(parent);
  if (path.has_filename() && ::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST)
    throw write_error(path, "create the folder", errno);
}

}  // namespace longlora
