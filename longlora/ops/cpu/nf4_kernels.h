// Kernels for weights in 4-bit NormalFloat (ops/nf4.h). They are compiled once for each instruction set, and
// the compiler may neither reorder nor fuse operations, so that values equal those of bitsandbytes to the
// bit. They take raw pointers only, like row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// The 16 values that codes stand for.
constexpr float kNf4Values[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

struct Nf4Kernels {
  /// Quantises complete blocks: writes their largest magnitudes and the codes of x / absmax. Returns false
  /// where an element is not finite.
  bool (*quantize)(const float* x, int64_t num_blocks, int64_t block_size, float* absmax, uint8_t* codes);
  /// Computes scales from their 8-bit codes: map[code] · scale + offset.
  void (*scales)(const uint8_t* codes, int64_t count, const float* map, float scale, float offset,
                 float* out);
  /// Dequantises elements [first, first + count) of a block with the given scale. `codes` and `first` are
  /// those of the whole matrix.
  void (*dequantize_float)(const uint8_t* codes, int64_t first, int64_t count, float scale, float* out);
  void (*dequantize_bf16)(const uint8_t* codes, int64_t first, int64_t count, float scale, Bf16* out);
};

/// Returns the kernels of an instruction set, by default of the widest that this machine can run.
const Nf4Kernels& nf4_kernels_of(Isa isa);
const Nf4Kernels& nf4_kernels();

}  // namespace longlora::ops::cpu
