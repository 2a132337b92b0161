// Runs other programs as child processes within limits.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longlora {

/// What a child process may use. A limit that is nullopt is that of this process. The limits hold from the
/// first instruction of the program on.
struct ChildLimits {
  std::optional<int64_t> memory_bytes = {};  // of address space; more cannot be allocated
  std::optional<int64_t> cpu_seconds = {};  // of processor time, over all threads; SIGXCPU or SIGKILL ends it
  std::optional<int64_t> output_bytes = {};  // of standard output, and of any other file; SIGXFSZ ends it
  std::optional<std::chrono::milliseconds> wall_time = {};  // from start to end; SIGKILL ends it
};

/// A program to run.
struct ChildProgram {
  std::vector<std::string> words;  // its name on the PATH or its path, then its arguments
  std::string input = {};          // bytes on its standard input
  ChildLimits limits = {};
};

/// How a child process ended, and what it wrote.
struct ChildResult {
  int start_error = 0;  // errno where the program could not be started; nothing else is set then
  int exit_code = -1;   // -1: a signal ended it
  int signal = 0;       // the signal that ended it; 0: none
  bool timed_out = false;
  std::string output;    // all of standard output
  std::string messages;  // the last kMaxMessageBytes of standard error, without space at its ends

  static constexpr size_t kMaxMessageBytes = size_t{64} << 10;

  bool succeeded() const { return start_error == 0 && exit_code == 0; }
  /// Says in words how the process ended: "exit code 3", "signal 9 (Killed)", "no end within its time".
  std::string describe_end() const;
};

/// Runs a program without a shell and waits for its end. The child gets the environment of this process and
/// its working folder, but no descriptor beyond the three standard ones. These lead to temporary files, so
/// that neither side can block the other, however much they write. Processes that the child starts are not
/// looked after. Thread-safe. Requires words. Throws ResourceError where temporary files cannot be written or
/// the limits cannot be set.
ChildResult run_child(const ChildProgram& program);

}  // namespace longlora
