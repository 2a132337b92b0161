// The log-probability of every token of a sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "longlora/forward/ready_decoder.h"

namespace longlora::eval {

/// The natural logarithms of the probabilities of ids[1], ids[2], …, each given what stands before it; there
/// is one fewer than ids. Throws InputError for fewer than two ids, for more than `context_size`, and for ids
/// beyond the vocabulary.
std::vector<double> token_logprobs(const forward::ReadyDecoder& ready, std::span<const int64_t> ids,
                                   int64_t context_size);

}  // namespace longlora::eval
