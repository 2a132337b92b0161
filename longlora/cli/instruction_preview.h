// Shows a sample of training data as a person can read it.
#pragma once

#include <cstddef>
#include <string>

#include "longlora/data/instruction_set.h"

namespace longlora::cli {

/// Says where a sample comes from and how long it is, and shows its text as the tokens spell it. What is
/// learned stands between ⟦ and ⟧ (in green with `colors`). Long stretches that are not learned are shortened
/// in the middle.
std::string describe_sample(const data::InstructionSet& set, size_t index,
                            const tokenizer::Tokenizer& tokenizer, bool colors);

}  // namespace longlora::cli
