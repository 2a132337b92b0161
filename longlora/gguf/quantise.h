// Numbers into the types of blocks that are written.
#pragma once

#include "longlora/gguf/block_types.h"

namespace longlora::gguf {

/// The opposite of dequantise for F32, F16, BF16, Q4_0, Q4_1 and Q8_0: the bits that gguf/quants.py gives.
/// `values` are finite. Throws InputError for a number, or a scale, that half precision does not hold; Error
/// for another type.
void quantise(BlockType type, const float* values, int64_t num_blocks, std::byte* blocks);

}  // namespace longlora::gguf
