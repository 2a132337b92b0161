#include "longlora/core/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "longlora/core/error.h"
#include "longlora/core/text.h"

namespace longlora {

namespace {

using Clock = std::chrono::steady_clock;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;

// Opens a file without a name, whose space is free again when its last descriptor is closed.
TemporaryFile make_temporary_file() {
  TemporaryFile file(std::tmpfile());
  if (!file)
    throw ResourceError(
        fmt::format("[temporary file] expected to create one, got '{}'. Free space in the "
                    "folder for temporary files.",
                    std::strerror(errno)));
  return file;
}

void fill(std::FILE* file, const ChildProgram& program) {
  const size_t size = program.input.size();
  if (std::fwrite(program.input.data(), 1, size, file) != size || std::fflush(file) != 0)
    throw ResourceError(
        fmt::format("[temporary file] expected to write the input of {}, got a full disk. Free space in the "
                    "folder for temporary files.",
                    program.words[0]));
  std::rewind(file);
}

// Reads the end of a file, at most `max_bytes` of it.
std::string read_tail(std::FILE* file, size_t max_bytes) {
  std::fseek(file, 0, SEEK_END);
  const auto size = static_cast<size_t>(std::max(std::ftell(file), 0L));
  std::string text(std::min(size, max_bytes), '\0');
  std::fseek(file, -static_cast<long>(text.size()), SEEK_END);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  return text;
}

// Waits until the child has ended. With a `deadline` it looks again and again, and kills the child then.
int wait_for_end(pid_t child, std::optional<Clock::time_point> deadline, bool& timed_out) {
  int status = 0;
  std::chrono::microseconds pause(200);
  while (true) {
    const pid_t ended = ::waitpid(child, &status, deadline ? WNOHANG : 0);
    if (ended == child) return status;
    if (ended < 0 && errno != EINTR) return 0;
    if (!deadline) continue;
    if (Clock::now() >= *deadline) {
      timed_out = true;
      deadline.reset();
      ::kill(child, SIGKILL);
      continue;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min<std::chrono::microseconds>(2 * pause, std::chrono::milliseconds(10));
  }
}

// How the child starts: everything that it needs is made before the fork, for between fork and exec a process
// with several threads may only make system calls.
class Launch {
 public:
  Launch(const ChildProgram& program, std::FILE* in, std::FILE* out, std::FILE* messages)
      : words_(program.words), standard_files_{fileno(in), fileno(out), fileno(messages)} {
    for (std::string& word : words_) argv_.push_back(word.data());
    argv_.push_back(nullptr);
    add_limit(RLIMIT_AS, program.limits.memory_bytes);
    add_limit(RLIMIT_CPU, program.limits.cpu_seconds);
    add_limit(RLIMIT_FSIZE, program.limits.output_bytes);
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  // Starts the program under its limits; its process id. Where it cannot be started: -1, with `error` set to
  // errno, and `limit_failed` where a limit was the reason.
  pid_t start(int& error, bool& limit_failed) {
    int report[2];
    if (::pipe2(report, O_CLOEXEC) != 0) {
      error = errno;
      return -1;
    }
    // The child does not run this process's handlers: signals wait until exec has put them away.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const pid_t child = ::fork();
    if (child == 0) run_program(report[1]);
    if (child < 0) error = errno;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::close(report[1]);
    const bool started = child >= 0 && !read_failure(report[0], error, limit_failed);
    ::close(report[0]);
    if (started || child < 0) return child;
    bool timed_out = false;
    wait_for_end(child, std::nullopt, timed_out);
    return -1;
  }

 private:
  struct Failure {
    int error = 0;
    bool of_limit = false;
  };
  struct Limit {
    __rlimit_resource resource;
    rlimit value;
  };

  void add_limit(__rlimit_resource resource, std::optional<int64_t> amount) {
    if (!amount) return;
    const auto value = static_cast<rlim_t>(std::max<int64_t>(*amount, 0));
    limits_.push_back({resource, {value, value}});
  }

  // The pipe closes without a word when the program has taken the child over.
  static bool read_failure(int report, int& error, bool& limit_failed) {
    Failure failure;
    ssize_t count = 0;
    do count = ::read(report, &failure, sizeof(failure));
    while (count < 0 && errno == EINTR);
    if (count != sizeof(failure)) return false;
    error = failure.error;
    limit_failed = failure.of_limit;
    return true;
  }

  [[noreturn]] static void end(int report, bool of_limit) {
    const Failure failure = {errno, of_limit};
    // A pipe holds so few bytes always; should the write fail, the exit code still tells.
    if (::write(report, &failure, sizeof(failure)) != sizeof(failure)) ::_exit(126);
    ::_exit(127);
  }

  // In the child. The limits come last, so that they count for the program alone.
  [[noreturn]] void run_program(int report) const {
    for (int target = STDIN_FILENO; target <= STDERR_FILENO; ++target)
      if (::dup2(standard_files_[static_cast<size_t>(target)], target) < 0) end(report, false);
    close_other_files_at_exec();
    use_default_signals();
    for (const Limit& limit : limits_)
      if (::setrlimit(limit.resource, &limit.value) != 0) end(report, true);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    ::execvp(argv_[0], argv_.data());
    end(report, false);
  }

  // Linux before 5.11 cannot mark a range.
  static void close_other_files_at_exec() {
    if (::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
    rlimit open_files = {};
    ::getrlimit(RLIMIT_NOFILE, &open_files);
    for (int file = STDERR_FILENO + 1; static_cast<rlim_t>(file) < open_files.rlim_cur; ++file)
      ::fcntl(file, F_SETFD, FD_CLOEXEC);
  }

  // A signal that this process ignores stays ignored, except for SIGPIPE: the program is to end when nobody
  // reads what it writes.
  static void use_default_signals() {
    for (int signal = 1; signal < NSIG; ++signal) {
      struct sigaction action;
      if (::sigaction(signal, nullptr, &action) != 0) continue;
      if (action.sa_handler == SIG_IGN && signal != SIGPIPE) continue;
      action = {};
      action.sa_handler = SIG_DFL;
      ::sigaction(signal, &action, nullptr);
    }
  }

  std::vector<std::string> words_;
  std::vector<char*> argv_;
  std::array<int, 3> standard_files_;
  std::vector<Limit> limits_;
};

}  // namespace

std::string ChildResult::describe_end() const {
  if (start_error != 0) return std::strerror(start_error);
  if (timed_out) return "no end within its time";
  return signal != 0 ? fmt::format("signal {} ({})", signal, ::strsignal(signal))
                     : fmt::format("exit code {}", exit_code);
}

ChildResult run_child(const ChildProgram& program) {
  const TemporaryFile in = make_temporary_file();
  const TemporaryFile out = make_temporary_file();
  const TemporaryFile messages = make_temporary_file();
  fill(in.get(), program);
  const auto start = Clock::now();
  ChildResult result;
  bool limit_failed = false;
  const pid_t child =
      Launch(program, in.get(), out.get(), messages.get()).start(result.start_error, limit_failed);
  if (limit_failed)
    throw ResourceError(fmt::format(
        "[child process] expected to set its limits, got {}; give it at most what this process may use",
        std::strerror(result.start_error)));
  if (child < 0) return result;
  std::optional<Clock::time_point> deadline;
  if (program.limits.wall_time) deadline = start + *program.limits.wall_time;
  const int status = wait_for_end(child, deadline, result.timed_out);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.output = read_tail(out.get(), SIZE_MAX);
  result.messages = trimmed(read_tail(messages.get(), ChildResult::kMaxMessageBytes));
  return result;
}

}  // namespace longlora
