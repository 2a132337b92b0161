// CPU kernels that work row by row, compiled once per instruction set and
// picked at run time. Raw pointers only: these translation units are built with
// wider instruction sets than the rest, so they must not share inline functions
// with it.
#pragma once

#include <cstdint>

#include "longlora/ops/adamw_step.h"
#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// All functions work on the rows given and leave threading to the caller.
/// T is float or Bf16; arithmetic is float32 throughout.
template <typename T>
struct RowKernels {
  /// y[r] = x[r] · rsqrt(mean(x[r]²) + eps) · weight; inverse_rms[r] is kept for backward.
  void (*rms_norm_forward)(const T* x, const T* weight, T* y, float* inverse_rms, int64_t rows, int64_t width,
                           float eps);
  /// grad_x from grad_y; adds to grad_weight[width] (float32).
  void (*rms_norm_backward)(const T* grad_y, const T* x, const T* weight, const float* inverse_rms, T* grad_x,
                            float* grad_weight, int64_t rows, int64_t width);
  /// Rotates the first 2·half of each head: (x1, x2) -> (x1 c − x2 s, x2 c + x1 s), with
  /// sine_sign −1 for the inverse. x rows are row_stride apart; y is contiguous
  /// [rows, heads, head_size]; cos/sin rows are indexed by positions[r].
  void (*rotate)(const T* x, int64_t row_stride, T* y, const int64_t* positions, const float* cos,
                 const float* sin, int64_t rows, int64_t heads, int64_t head_size, int64_t half,
                 float sine_sign);
  /// y = silu(gate) · up over n elements.
  void (*silu_mul_forward)(const T* gate, const T* up, T* y, int64_t n);
  void (*silu_mul_backward)(const T* grad_y, const T* gate, const T* up, T* grad_gate, T* grad_up, int64_t n);
  /// Row-wise cross entropy. loss[r] = logsumexp(logits[r]) − logits[r][label]; correct[r] = argmax == label
  /// (first maximum). With grad_scale != 0 the logits become grad_scale · (softmax − onehot).
  void (*cross_entropy)(T* logits, const int64_t* labels, float* loss, uint8_t* correct, int64_t rows,
                        int64_t width, float grad_scale);
  /// sum[i] += x[i].
  void (*add_row)(const T* x, float* sum, int64_t n);
  /// y[r] = (x[r] − mean) · inverse_deviation · weight + bias; mean[r] and
  /// inverse_deviation[r] = 1 / sqrt(var + eps) are kept for backward.
  void (*layer_norm_forward)(const T* x, const T* weight, const T* bias, T* y, float* mean,
                             float* inverse_deviation, int64_t rows, int64_t width, float eps);
  /// grad_x from grad_y; adds to grad_weight[width] and grad_bias[width] (float32).
  void (*layer_norm_backward)(const T* grad_y, const T* x, const T* weight, const float* mean,
                              const float* inverse_deviation, T* grad_x, float* grad_weight, float* grad_bias,
                              int64_t rows, int64_t width);
};

/// One AdamW step over n float32 elements.
using AdamWKernel = void (*)(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq,
                             int64_t n, const AdamWStep& step);

/// The kernels of one instruction set, by default the widest that this machine can run. Another one is for
/// tests; running it needs is_supported(isa).
template <typename T>
const RowKernels<T>& row_kernels_of(Isa isa);
AdamWKernel adamw_kernel_of(Isa isa);
template <typename T>
const RowKernels<T>& row_kernels();
AdamWKernel adamw_kernel();

}  // namespace longlora::ops::cpu
