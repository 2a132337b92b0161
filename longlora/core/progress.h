// A progress line with rate and time left.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace longlora {

class LogSink;

/// Reports work done out of a total to the log sink. On a terminal it rewrites one line several
/// times a second; otherwise it writes a plain line at most every ten seconds
/// and one at the end. Not thread-safe.
class Progress {
 public:
  /// `what` starts the line ("tokenizing"), `unit` names what is counted ("bytes").
  Progress(std::string what, int64_t total, std::string unit);
  ~Progress();
  /// Sets the absolute amount done; `extra` is appended to the line.
  void update(int64_t done, const std::string& extra = "");
  /// Prints the total and the rate, once; the destructor does it too.
  void finish();

 private:
  std::string line() const;

  std::string what_;
  int64_t total_;
  std::string unit_;
  std::string extra_;
  int64_t done_ = 0;
  bool finished_ = false;
  LogSink& sink_;  // of the thread that began the work
  bool rewrites_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_print_;
};

}  // namespace longlora
