// Where messages go. By default that is standard error; a server sends those of a request to the request's
// own sink, for the thread that works on it.
#pragma once

#include <mutex>
#include <set>
#include <string>
#include <string_view>

namespace longlora {

enum class LogLevel { kInfo, kWarning, kError };

/// Receives messages and progress. The functions may be called by several threads at once.
class LogSink {
 public:
  LogSink() = default;
  virtual ~LogSink() = default;
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;

  /// One message, without a line end, and without a word for its level.
  virtual void write(LogLevel level, std::string_view message) = 0;

  /// Tells how far some work is: "evaluating: 3/10 windows (30%), 5.1 windows/s, 1.4s left". A sink that does
  /// not override this treats it as a message like others.
  virtual void write_progress(std::string_view line) { write(LogLevel::kInfo, line); }
  /// Whether each line of progress takes the place of the one before. Where it does not, fewer lines are
  /// written.
  virtual bool rewrites_progress() const { return false; }

  /// Whether this sink is asked about this message for the first time.
  bool is_new(const std::string& message);

 private:
  std::mutex mutex_;
  std::set<std::string> known_;
};

/// The sink of this thread: the innermost ScopedLogSink, else standard error.
LogSink& log_sink();

/// Sends what this thread says to `sink`, which must live as long as this object. Threads that it starts do
/// not follow by themselves: give each a ScopedLogSink of log_sink().
class ScopedLogSink {
 public:
  explicit ScopedLogSink(LogSink& sink);
  ~ScopedLogSink();
  ScopedLogSink(const ScopedLogSink&) = delete;
  ScopedLogSink& operator=(const ScopedLogSink&) = delete;

 private:
  LogSink* outer_;
};

}  // namespace longlora
