// Messages for the person at the terminal: they go to the log sink of the thread, which is standard error
// unless another is set (log_sink.h).
#pragma once

#include <string>

namespace longlora {

/// One line of information ("longlora: …" is not prefixed).
void log_info(const std::string& message);
/// One line that starts with "warning: ".
void log_warning(const std::string& message);
/// The same, where the sink has not had it yet.
void log_warning_once(const std::string& message);
/// One line that starts with "error: ".
void log_error(const std::string& message);

}  // namespace longlora
