// Preloaded into the program by the tests of tests/cli: kills it in the middle of
// its n-th file operation, or lets its disk be full. Operations are calls that
// create, write, sync, rename or remove something; what goes to standard output
// and standard error through stdio is none.
//
//   FAILING_CALLS_COUNTER   a file of 8 bytes that receives the number of operations
//   FAILING_CALLS_KILL_AT   SIGKILL before this operation, or in the middle of it when it is a write
//   FAILING_CALLS_CAPACITY  bytes that fit on the disk
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>

namespace {

int64_t number_from(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

template <typename Function>
Function* next(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
#define NEXT(name) next(static_cast<decltype(name)*>(nullptr), #name)

// What is to go wrong, read once.
struct Trouble {
  int64_t kill_at = number_from("FAILING_CALLS_KILL_AT", 0);
  std::atomic<int64_t> room{number_from("FAILING_CALLS_CAPACITY", INT64_MAX)};
  std::atomic<int64_t> own_counter{0};
  std::atomic<int64_t>* counter = &own_counter;

  Trouble() {
    const char* path = std::getenv("FAILING_CALLS_COUNTER");
    if (path == nullptr) return;
    const int file = ::open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void* shared = ::mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED) counter = static_cast<std::atomic<int64_t>*>(shared);
    ::close(file);
  }
};

Trouble& trouble() {
  static Trouble instance;
  return instance;
}

// Counts an operation; true when the process is to die in it.
bool is_last_operation() {
  return ++*trouble().counter == trouble().kill_at;
}

void die() {
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

void count_operation() {
  if (is_last_operation()) die();
}

bool is_on_disk(int file) {
  struct stat info;
  return ::fstat(file, &info) == 0 && S_ISREG(info.st_mode);
}

// How many of `size` bytes fit; they are taken.
int64_t take_room(int64_t size) {
  std::atomic<int64_t>& room = trouble().room;
  int64_t left = room.load();
  while (!room.compare_exchange_weak(left, left - (size < left ? size : left))) {
  }
  return size < left ? size : left;
}

}  // namespace

extern "C" {

ssize_t write(int file, const void* bytes, size_t size) {
  static const auto real = NEXT(write);
  if (!is_on_disk(file)) return real(file, bytes, size);
  if (is_last_operation()) {
    (void)!real(file, bytes, size / 2);
    die();
  }
  const int64_t fits = take_room(static_cast<int64_t>(size));
  if (fits > 0 || size == 0) return real(file, bytes, static_cast<size_t>(fits));
  errno = ENOSPC;
  return -1;
}

// What libstdc++'s file streams use for large pieces.
ssize_t writev(int file, const iovec* pieces, int count) {
  static const auto real = NEXT(writev);
  if (!is_on_disk(file)) return real(file, pieces, count);
  ssize_t written = 0;
  for (int i = 0; i < count; ++i) {
    const ssize_t result = write(file, pieces[i].iov_base, pieces[i].iov_len);
    if (result < 0) return written > 0 ? written : result;
    written += result;
    if (static_cast<size_t>(result) < pieces[i].iov_len) break;
  }
  return written;
}

int open(const char* path, int flags, ...) {
  static const auto real = NEXT(open);
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if ((flags & O_CREAT) != 0) count_operation();
  return real(path, flags, mode);
}

int mkdir(const char* path, mode_t mode) noexcept {
  static const auto real = NEXT(mkdir);
  count_operation();
  return real(path, mode);
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = NEXT(rename);
  count_operation();
  return real(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  static const auto real = NEXT(renameat2);
  count_operation();
  return real(from_folder, from, to_folder, to, flags);
}

int unlink(const char* path) noexcept {
  static const auto real = NEXT(unlink);
  count_operation();
  return real(path);
}

int rmdir(const char* path) noexcept {
  static const auto real = NEXT(rmdir);
  count_operation();
  return real(path);
}

int fsync(int file) {
  static const auto real = NEXT(fsync);
  count_operation();
  return real(file);
}
}
