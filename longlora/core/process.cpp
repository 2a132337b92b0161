#include "longlora/core/process.h"

#include <fmt/format.h>
#include <spawn.h>
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

// The file has no name, and its space is free again when the last descriptor is closed.
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

// The end of the file, at most `max_bytes` of it.
std::string read_tail(std::FILE* file, size_t max_bytes) {
  std::fseek(file, 0, SEEK_END);
  const auto size = static_cast<size_t>(std::max(std::ftell(file), 0L));
  std::string text(std::min(size, max_bytes), '\0');
  std::fseek(file, -static_cast<long>(text.size()), SEEK_END);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  return text;
}

// What the child starts with: its three files, no other descriptor, no blocked signal.
class SpawnSettings {
 public:
  SpawnSettings(std::FILE* in, std::FILE* out, std::FILE* messages) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_adddup2(&actions_, fileno(in), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, fileno(out), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, fileno(messages), STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &usual);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  // Starts the program; its process id, or below 0 with errno set.
  pid_t spawn(std::vector<std::string> words) const {
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_t child = -1;
    const int error = posix_spawnp(&child, argv[0], &actions_, &attributes_, argv.data(), environ);
    errno = error;
    return error == 0 ? child : -1;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// True where the limit holds now, or the child has ended already.
bool set_limit(pid_t child, __rlimit_resource resource, std::optional<int64_t> amount) {
  if (!amount) return true;
  const auto value = static_cast<rlim_t>(std::max<int64_t>(*amount, 0));
  const rlimit limit = {value, value};
  return ::prlimit(child, resource, &limit, nullptr) == 0 || errno == ESRCH;
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

void limit_child(pid_t child, const ChildLimits& limits) {
  if (set_limit(child, RLIMIT_AS, limits.memory_bytes) && set_limit(child, RLIMIT_CPU, limits.cpu_seconds) &&
      set_limit(child, RLIMIT_FSIZE, limits.output_bytes))
    return;
  const int error = errno;
  bool ignored = false;
  ::kill(child, SIGKILL);
  wait_for_end(child, std::nullopt, ignored);
  throw ResourceError(fmt::format(
      "[child process] expected to set its limits, got {}; give it at most what this process may use",
      std::strerror(error)));
}

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
  const pid_t child = SpawnSettings(in.get(), out.get(), messages.get()).spawn(program.words);
  if (child < 0) {
    result.start_error = errno;
    return result;
  }
  limit_child(child, program.limits);
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
