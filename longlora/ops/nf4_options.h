// How weights are put into four bits.
#pragma once

#include <cstdint>

namespace longlora::ops {

struct Nf4Options {
  /// How many elements that follow each other in memory share a scale; a power of two from 32 to 4096.
  int64_t block_size = 64;
  /// Whether the scales themselves are in 8 bits (bitsandbytes' dynamic type), with a float32 scale for every
  /// 256 of them.
  bool double_quant = true;
};

/// Whether blocks can have so many elements.
constexpr bool is_nf4_block_size(int64_t size) {
  return size >= 32 && size <= 4096 && (size & (size - 1)) == 0;
}

}  // namespace longlora::ops
