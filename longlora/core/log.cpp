#include "longlora/core/log.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "longlora/core/log_sink.h"

namespace longlora {

namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";

// The sink of the process's own standard error, with a lock and the unfinished line that may stand there.
class StandardError : public LogSink {
 public:
  void write(LogLevel level, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    std::string text;
    if (progress_line_open_) text += kClearLine;
    progress_line_open_ = false;
    if (level == LogLevel::kWarning) text += "warning: ";
    if (level == LogLevel::kError) text += "error: ";
    text += message;
    text += '\n';
    put(text);
  }

  void write_progress(std::string_view line) override {
    if (!rewrites_progress()) return write(LogLevel::kInfo, line);
    const std::lock_guard lock(mutex_);
    std::string text(kClearLine);
    text += cut_to_terminal(line);
    progress_line_open_ = true;
    put(text);
  }

  // Whether standard error is a terminal that understands being rewritten.
  bool rewrites_progress() const override {
    const char* kind = std::getenv("TERM");
    return ::isatty(STDERR_FILENO) == 1 && !(kind != nullptr && std::string_view(kind) == "dumb");
  }

 private:
  // One write per line keeps lines of several processes apart. A closed or full
  // standard error must not end the program: there is nobody left to tell.
  static void put(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }

  // The beginning of a line that fits the terminal, cut between characters: a longer one would wrap and could
  // not be rewritten.
  static std::string_view cut_to_terminal(std::string_view line) {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return line;
    const size_t width = size.ws_col - 1u;
    if (line.size() <= width) return line;
    size_t cut = width;
    while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80) --cut;
    return line.substr(0, cut);
  }

  std::mutex mutex_;
  bool progress_line_open_ = false;
};

LogSink& standard_error() {
  // It is never destroyed: something may be said until the process ends.
  static StandardError& sink = *new StandardError;
  return sink;
}

thread_local LogSink* scoped_sink = nullptr;

}  // namespace

bool LogSink::is_new(const std::string& message) {
  const std::lock_guard lock(mutex_);
  return known_.insert(message).second;
}

LogSink& log_sink() {
  return scoped_sink != nullptr ? *scoped_sink : standard_error();
}

ScopedLogSink::ScopedLogSink(LogSink& sink) : outer_(scoped_sink) {
  scoped_sink = &sink;
}

ScopedLogSink::~ScopedLogSink() {
  scoped_sink = outer_;
}

void log_info(const std::string& message) {
  log_sink().write(LogLevel::kInfo, message);
}
void log_warning(const std::string& message) {
  log_sink().write(LogLevel::kWarning, message);
}
void log_warning_once(const std::string& message) {
  if (log_sink().is_new(message)) log_warning(message);
}
void log_error(const std::string& message) {
  log_sink().write(LogLevel::kError, message);
}

}  // namespace longlora
