// Finds out why a decoder's results are not finite.
#pragma once

#include <string>

#include "longlora/model/decoder.h"

namespace longlora::model {

/// Returns the end of an error message about a decoder whose results are not finite, which is to follow a
/// semicolon. It names the first weight that holds NaN or infinity, or says that all are finite and that the
/// results are too large for the dtype. Reads every weight that is in memory.
std::string explain_not_finite(const Decoder& decoder);

}  // namespace longlora::model
