// Why a decoder computes what is not finite.
#pragma once

#include <string>

#include "longlora/model/decoder.h"

namespace longlora::model {

/// What to say, behind a semicolon, of a decoder whose results are not finite: the first of its weights that
/// holds NaN or infinity, or that all are finite and the numbers outgrow its dtype. Reads every weight that
/// is in memory.
std::string explain_not_finite(const Decoder& decoder);

}  // namespace longlora::model
