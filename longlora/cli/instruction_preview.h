// A sample as a person can read it.
#pragma once

#include <cstddef>
#include <string>

#include "longlora/data/instruction_set.h"

namespace longlora::cli {

/// Where the sample comes from, its size, and its text as the tokens spell it,
/// what is learned between ⟦ and ⟧ (in green with `colors`). Long stretches that
/// are not learned are shortened in the middle.
std::string describe_sample(const data::InstructionSet& set, size_t index,
                            const tokenizer::Tokenizer& tokenizer, bool colors);

}  // namespace longlora::cli
