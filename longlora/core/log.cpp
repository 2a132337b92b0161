#include "longlora/core/log.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "longlora/core/terminal.h"

namespace longlora {

namespace internal {

namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";
std::mutex mutex;
bool progress_line_open = false;

// One write per line keeps lines of several processes apart. A closed or full
// standard error must not end the program: there is nobody left to tell.
void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

void write_line(std::string_view line) {
  const std::lock_guard lock(mutex);
  std::string text;
  if (progress_line_open) text += kClearLine;
  progress_line_open = false;
  text += line;
  text += '\n';
  put(text);
}

void rewrite_progress_line(std::string_view line) {
  const std::lock_guard lock(mutex);
  std::string text(kClearLine);
  text += line;
  progress_line_open = true;
  put(text);
}

bool is_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && !(kind != nullptr && std::string_view(kind) == "dumb");
}

}  // namespace internal

void log_info(const std::string& message) {
  internal::write_line(message);
}
void log_warning(const std::string& message) {
  internal::write_line("warning: " + message);
}
void log_warning_once(const std::string& message) {
  static std::mutex once;
  static std::set<std::string> said;
  {
    const std::lock_guard lock(once);
    if (!said.insert(message).second) return;
  }
  log_warning(message);
}
void log_error(const std::string& message) {
  internal::write_line("error: " + message);
}

}  // namespace longlora
