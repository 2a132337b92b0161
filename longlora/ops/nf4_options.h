// How weights are put into four bits.
#pragma once

#include <cstdint>

namespace longlora::ops {

struct Nf4Options {
  /// Elements, one after another in memory, that share a scale; a power of two from 32 to 4096.
  int64_t block_size = 64;
  /// Keep the scales in 8 bits (bitsandbytes' dynamic type), with a float32 scale for every 256 of them.
  bool double_quant = true;
};

/// Whether blocks can have so many elements.
constexpr bool is_nf4_block_size(int64_t size) {
  return size >= 32 && size <= 4096 && (size & (size - 1)) == 0;
}

}  // namespace longlora::ops
