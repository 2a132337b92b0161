// CPU kernels that work row by row. They are compiled once for each instruction set and chosen at run time.
// They take raw pointers only: their translation units are compiled for wider instruction sets than the rest
// of the program, so that they must not share inline functions with it.
#pragma once

#include <cstdint>

#include "longlora/ops/adamw_step.h"
#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// The kernels of one instruction set. They work on the given rows in the calling thread. T is float or Bf16;
/// all arithmetic is in float32.
template <typename T>
struct RowKernels {
  /// Computes y[r] = x[r] · inverse_rms[r] · weight, where inverse_rms[r] = 1 / sqrt(mean(x[r]²) + eps) is
  /// written for backward.
  void (*rms_norm_forward)(const T* x, const T* weight, T* y, float* inverse_rms, int64_t rows, int64_t width,
                           float eps);
  /// Computes grad_x from grad_y, and adds to grad_weight[width] (float32).
  void (*rms_norm_backward)(const T* grad_y, const T* x, const T* weight, const float* inverse_rms, T* grad_x,
                            float* grad_weight, int64_t rows, int64_t width);
  /// Rotates the first 2 · half dimensions of each head: (x1, x2) becomes (x1 c − x2 s, x2 c + x1 s), where s
  /// is sine_sign · sin; with sine_sign −1 it is the inverse rotation. Rows of x are row_stride apart, and y
  /// is contiguous [rows, heads, head_size]. positions[r] is the row of cos and sin.
  void (*rotate)(const T* x, int64_t row_stride, T* y, const int64_t* positions, const float* cos,
                 const float* sin, int64_t rows, int64_t heads, int64_t head_size, int64_t half,
                 float sine_sign);
  /// Computes y = silu(gate) · up for n elements.
  void (*silu_mul_forward)(const T* gate, const T* up, T* y, int64_t n);
  void (*silu_mul_backward)(const T* grad_y, const T* gate, const T* up, T* grad_gate, T* grad_up, int64_t n);
  /// Computes the cross entropy of each row: loss[r] = logsumexp(logits[r]) − logits[r][label]. correct[r]
  /// says whether the first largest logit is that of the label. Where grad_scale is not 0, logits become
  /// grad_scale · (softmax − onehot).
  void (*cross_entropy)(T* logits, const int64_t* labels, float* loss, uint8_t* correct, int64_t rows,
                        int64_t width, float grad_scale);
  /// Adds x[i] to sum[i].
  void (*add_row)(const T* x, float* sum, int64_t n);
  /// Computes y[r] = (x[r] − mean[r]) · inverse_deviation[r] · weight + bias. mean[r] and
  /// inverse_deviation[r] = 1 / sqrt(var + eps) are written for backward.
  void (*layer_norm_forward)(const T* x, const T* weight, const T* bias, T* y, float* mean,
                             float* inverse_deviation, int64_t rows, int64_t width, float eps);
  /// Computes grad_x from grad_y, and adds to grad_weight[width] and grad_bias[width] (float32).
  void (*layer_norm_backward)(const T* grad_y, const T* x, const T* weight, const float* mean,
                              const float* inverse_deviation, T* grad_x, float* grad_weight, float* grad_bias,
                              int64_t rows, int64_t width);
};

/// Makes an AdamW step for n float32 elements.
using AdamWKernel = void (*)(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq,
                             int64_t n, const AdamWStep& step);

/// Returns the kernels of an instruction set, by default of the widest that this machine can run. Others are
/// for tests, and run only where is_supported(isa).
template <typename T>
const RowKernels<T>& row_kernels_of(Isa isa);
AdamWKernel adamw_kernel_of(Isa isa);
template <typename T>
const RowKernels<T>& row_kernels();
AdamWKernel adamw_kernel();

}  // namespace longlora::ops::cpu
