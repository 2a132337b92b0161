// What becomes of one sample in a row of a length.
#pragma once

#include "longlora/data/instruction_set.h"

namespace longlora::data {

/// Shortens a sample as the options say (see truncate) and counts what became of it. Returns whether it
/// stays.
bool fit_sample(InstructionTokens* sample, const InstructionOptions& options, InstructionCounts* counts);

}  // namespace longlora::data
