#include "longlora/core/scratch_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "longlora/core/error.h"
#include "longlora/core/file_internal.h"
#include "longlora/core/format.h"
#include "longlora/core/mapped_ranges.h"

namespace longlora {
namespace {

constexpr int64_t kPieceBytes = int64_t{8} << 20;

// Opens a file without a name in `folder`. Returns its descriptor, or -1 with errno set.
int open_unnamed(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return descriptor;
  std::string name = (folder / ".longlora-scratch-XXXXXX").string();
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

bool is_in_memory(int descriptor) {
  struct statfs info = {};
  return ::fstatfs(descriptor, &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
}

}  // namespace

ScratchFile::ScratchFile(const std::filesystem::path& folder, int64_t num_bytes) : folder_(folder) {
  internal::Descriptor file(open_unnamed(folder));
  if (!file.is_open()) throw write_error(folder, "make a scratch file", errno);
  if (is_in_memory(file.get()))
    throw ResourceError(
        fmt::format("[{}] expected a folder on a disk for {} of scratch space, got one in memory; name "
                    "another with --scratch_dir",
                    folder.string(), format_bytes(num_bytes)));
  const int failed = ::posix_fallocate(file.get(), 0, std::max<int64_t>(1, num_bytes));
  if (failed != 0)
    throw write_error(folder, fmt::format("reserve {} of scratch space", format_bytes(num_bytes)), failed);
  descriptor_ = file.release();
}

ScratchFile::~ScratchFile() {
  ::close(descriptor_);
}

void ScratchFile::write(int64_t offset, const void* data, int64_t num_bytes) {
  for (int64_t done = 0; done < num_bytes;) {
    const auto piece = static_cast<size_t>(std::min(kPieceBytes, num_bytes - done));
    const ssize_t written =
        ::pwrite(descriptor_, static_cast<const char*>(data) + done, piece, offset + done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw write_error(folder_, "write scratch data", written < 0 ? errno : EIO);
    done += written;
  }
  ::sync_file_range(descriptor_, offset, num_bytes, SYNC_FILE_RANGE_WRITE);  // a hint
}

void ScratchFile::read(int64_t offset, void* data, int64_t num_bytes) const {
  for (int64_t done = 0; done < num_bytes;) {
    const auto piece = static_cast<size_t>(std::min(kPieceBytes, num_bytes - done));
    const ssize_t got = ::pread(descriptor_, static_cast<char*>(data) + done, piece, offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw write_error(folder_, "read scratch data back", got < 0 ? errno : EIO);
    done += got;
  }
  ::posix_fadvise(descriptor_, offset, num_bytes, POSIX_FADV_DONTNEED);  // a hint
}

ScratchMemory::ScratchMemory(const std::filesystem::path& folder, int64_t num_bytes) : num_bytes_(num_bytes) {
  if (num_bytes == 0) return;  // mmap refuses an empty range
  const ScratchFile file(folder, num_bytes);
  // The mapping keeps the file alive.
  void* mapping = ::mmap(nullptr, static_cast<size_t>(num_bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                         file.descriptor_, 0);
  if (mapping == MAP_FAILED) throw write_error(folder, "map scratch space", errno);
  data_ = static_cast<std::byte*>(mapping);
  remember_mapping(data_, static_cast<size_t>(num_bytes), MappedKind::kScratch, folder);
}

ScratchMemory::~ScratchMemory() {
  if (data_ == nullptr) return;
  forget_mapping(data_);
  ::munmap(data_, static_cast<size_t>(num_bytes_));
}

void ScratchMemory::advise(int64_t offset, int64_t num_bytes, int advice) const {
  if (num_bytes <= 0) return;
  const auto page = static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
  const int64_t first = offset / page * page;
  ::madvise(data_ + first, static_cast<size_t>(offset + num_bytes - first), advice);  // a hint
}

void ScratchMemory::release(int64_t offset, int64_t num_bytes) const {
  advise(offset, num_bytes, MADV_DONTNEED);
}

void ScratchMemory::will_need(int64_t offset, int64_t num_bytes) const {
  advise(offset, num_bytes, MADV_WILLNEED);
}

}  // namespace longlora
