// Gives kernels the scales of a matrix in 4-bit NormalFloat.
#pragma once

#include "longlora/ops/cpu/nf4_products.h"
#include "longlora/ops/nf4.h"

namespace longlora::ops::cpu {

inline Nf4Scales scales_of(const Nf4Matrix& matrix) {
  if (!matrix.is_nested())
    return {.block_size = matrix.block_size, .absmax = matrix.absmax.const_data_ptr<float>()};
  return {.block_size = matrix.block_size,
          .codes = matrix.absmax.const_data_ptr<uint8_t>(),
          .map = matrix.nested_map.const_data_ptr<float>(),
          .nested = matrix.nested_absmax.const_data_ptr<float>(),
          .nested_block_size = matrix.nested_block_size,
          .offset = matrix.nested_offset};
}

}  // namespace longlora::ops::cpu
