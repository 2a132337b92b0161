// Kernels of a decoding step: products of a few rows with weights that are read once, and what lies between
// these products. They are compiled once for each instruction set and take raw pointers only, like
// row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// How far apart the rows of a product's left operand are. They are filled up with zeros to a multiple of 32
/// columns, and to an odd one, so that rows do not share the same few places of a cache.
constexpr int64_t step_width(int64_t columns) {
  return 32 * ((columns + 31) / 32 | 1);
}

/// The activation of an MLP.
enum class StepActivation { kSilu, kGelu, kGeluTanh };

struct StepKernels {
  /// Computes out[i · out_stride + j] = Σ x[i] w[j] for m rows of x, which are step_width(k) apart, and n
  /// rows of w, which are k apart. Each element is one float32 sum in an order that depends on k alone.
  /// Bfloat16 is multiplied in pairs where the instruction set can, else widened.
  void (*multiply_float)(int64_t m, int64_t n, int64_t k, const float* x, const float* w, float* out,
                         int64_t out_stride);
  void (*multiply_bf16)(int64_t m, int64_t n, int64_t k, const Bf16* x, const Bf16* w, float* out,
                        int64_t out_stride);
  /// Rounds n numbers to bfloat16.
  void (*round)(const float* x, int64_t n, Bf16* out);
  /// Computes gate = act(gate) · up for n elements, or act(gate) where up is null.
  void (*activate)(StepActivation activation, float* gate, const float* up, int64_t n);
};

/// Returns the kernels of an instruction set, by default of the widest that this machine can run.
const StepKernels& step_kernels_of(Isa isa);
const StepKernels& step_kernels();

}  // namespace longlora::ops::cpu
