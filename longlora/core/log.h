// Messages for the person at the terminal, on standard error.
#pragma once

#include <string>

namespace longlora {

/// One line of information ("longlora: …" is not prefixed).
void log_info(const std::string& message);
/// One line that starts with "warning: ".
void log_warning(const std::string& message);
/// The same, where the process has not said it yet.
void log_warning_once(const std::string& message);
/// One line that starts with "error: ".
void log_error(const std::string& message);

}  // namespace longlora
