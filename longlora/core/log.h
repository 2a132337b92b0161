// Messages for the person at the terminal. They go to the log sink of the thread, which is standard error
// unless another is set (log_sink.h).
#pragma once

#include <string>

namespace longlora {

/// Writes one line of information, without a prefix.
void log_info(const std::string& message);
/// Writes one line that starts with "warning: ".
void log_warning(const std::string& message);
/// Writes a warning, unless the sink of this thread has had the same one before.
void log_warning_once(const std::string& message);
/// Writes one line that starts with "error: ".
void log_error(const std::string& message);

}  // namespace longlora
