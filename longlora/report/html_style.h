// The style sheet of every report.
#pragma once

namespace longlora::report {

extern const char* const kStyleSheet;

}  // namespace longlora::report
