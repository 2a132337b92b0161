#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"

namespace longlora {

namespace fs = std::filesystem;

namespace {

constexpr const char* kKind = "partial";

// Removes temporaries of killed processes. Nobody holds the lock of such a file any more.
void remove_stale_temporaries(const fs::path& path) {
  for (const fs::path& stale : internal::find_siblings(path, kKind)) {
    const internal::Descriptor file(::open(stale.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
    if (file.is_open() && internal::try_lock(file.get()) == internal::LockResult::kLocked)
      ::unlink(stale.c_str());
  }
}

internal::Descriptor create_temporary(const fs::path& path, FileReaders readers, fs::path* temporary) {
  const mode_t mode = readers == FileReaders::kOwnerAlone ? 0600 : 0666;
  while (true) {
    *temporary = sibling_name(path, kKind);
    internal::Descriptor file(::open(temporary->c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!file.is_open()) {
      if (errno == EEXIST) continue;  // an earlier process of the same id left it
      throw write_error(path, "create the file", errno);
    }
    const internal::LockResult lock = internal::try_lock(file.get());
    struct stat info;
    if (lock == internal::LockResult::kUnsupported) return file;
    // Between its creation and its lock another process may have taken the file for stale and removed it.
    if (lock == internal::LockResult::kLocked && ::fstat(file.get(), &info) == 0 && info.st_nlink == 1)
      return file;
  }
}

// A second descriptor of an open stream: what is written there goes behind what the stream holds.
int open_stream(const fs::path& path, int stream) {
  if (stream == STDOUT_FILENO) std::fflush(stdout);  // what was printed before comes first
  const int flags = ::fcntl(stream, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) errno = EBADF;
  const bool is_writable = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
  const int descriptor = is_writable ? ::fcntl(stream, F_DUPFD_CLOEXEC, 0) : -1;
  if (descriptor < 0) throw write_error(path, "open it for writing", errno);
  return descriptor;
}

}  // namespace

AtomicFileWriter::AtomicFileWriter(const fs::path& path, FileReaders readers) {
  if (const auto stream = internal::descriptor_behind(path)) {
    path_ = path;
    descriptor_ = open_stream(path, *stream);
    return;
  }
  path_ = internal::resolve_target(path);
  struct stat info;
  const bool exists = ::stat(path_.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) throw write_error(path_, "write a file", EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {  // a device or pipe is written to, never replaced
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) throw write_error(path_, "open it for writing", errno);
    return;
  }
  remove_stale_temporaries(path_);
  descriptor_ = create_temporary(path_, readers, &temporary_).release();
}

AtomicFileWriter::~AtomicFileWriter() {
  if (descriptor_ < 0) return;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  ::close(descriptor_);
}

void AtomicFileWriter::write(const void* data, size_t num_bytes) {
  if (descriptor_ < 0) throw Error("[AtomicFileWriter] expected an open file, got write() after commit()");
  const char* bytes = static_cast<const char*>(data);
  while (num_bytes > 0) {
    // Linux writes at most 2 GiB in one call.
    const ssize_t result = ::write(descriptor_, bytes, std::min<size_t>(num_bytes, size_t{1} << 30));
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) throw write_error(path_, "write the file", errno);
    bytes += result;
    num_bytes -= static_cast<size_t>(result);
  }
}

void AtomicFileWriter::sync() {
  if (descriptor_ < 0) throw Error("[AtomicFileWriter] expected an open file, got sync() after commit()");
  if (!temporary_.empty() && ::fsync(descriptor_) != 0)
    throw write_error(path_, "sync the file to disk", errno);
}

void AtomicFileWriter::commit() {
  if (descriptor_ < 0) throw Error("[AtomicFileWriter] expected an open file, got a second commit()");
  const bool replaces = !temporary_.empty();
  if (replaces) {
    sync();
    if (::rename(temporary_.c_str(), path_.c_str()) != 0)
      throw write_error(path_, "move the finished file into place", errno);
    temporary_.clear();
  }
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0 && errno != EINTR) throw write_error(path_, "close the file", errno);
  if (replaces) sync_directory(internal::parent_folder(path_));
}

void write_file_atomic(const fs::path& path, std::string_view bytes) {
  AtomicFileWriter writer(path);
  writer.write(bytes.data(), bytes.size());
  writer.commit();
}

}  // namespace longlora
