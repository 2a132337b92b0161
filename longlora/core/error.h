// The program's exceptions: each carries the exit code that main returns.
#pragma once

#include <stdexcept>
#include <string>

namespace longlora {

/// What the process returns; documented in every verb's --help.
enum class ExitCode : int {
  kDone = 0,
  kOther = 1,      // anything not named below
  kUsage = 2,      // unknown flag, contradictory or out-of-range option
  kInput = 3,      // a file, model or data set that cannot be used
  kResources = 4,  // memory, disk or GPU
};

/// Base of all errors. The message reads "[what] expected X, got Y" and, where
/// the user can act, ends with what to do.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode code = ExitCode::kOther)
      : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// The command line is wrong: exit code 2.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(message, ExitCode::kUsage) {}
};

/// A file, model or data set cannot be used: exit code 3.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message) : Error(message, ExitCode::kInput) {}
};

/// Memory or disk is full, writing is not permitted, or the GPU that was asked for is missing: exit code 4.
class ResourceError : public Error {
 public:
  explicit ResourceError(const std::string& message) : Error(message, ExitCode::kResources) {}
};

}  // namespace longlora
