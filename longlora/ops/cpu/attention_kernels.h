// The element-wise parts of blocked attention: packing operands for block
// products, the softmax of a block, its derivative. Compiled once per
// instruction set, as row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// Queries and keys of a block. All blocks are whole: short ones are padded with zeros.
constexpr int64_t kAttentionBlock = 64;

/// The maximum of a query that has seen no key yet: below every score, above every masked one.
constexpr float kNoMaximum = -1e20f;

/// The first_key of a block of which no window hides anything.
constexpr int64_t kNoWindow = -kAttentionBlock;

/// Scores are [key, query] throughout, so that what belongs to a query lies in
/// one lane of a vector. Exponents are of 2: scores count in units of log2(e).
/// B operands of block products are stored in the order the product wants: plain
/// [K][N] for float, pairs of rows interleaved [K/2][N][2] for bfloat16.
template <typename T>
struct AttentionKernels {
  /// out [block, width] = rows of src, row_stride apart; rows from `valid` on are zero.
  void (*copy_block)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);
  /// B operand [width × block]: src transposed.
  void (*pack_transposed)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);
  /// B operand [block × width]: src as it is.
  void (*pack_rows)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);
  /// out [width, block]: src transposed, as an A operand.
  void (*transpose_block)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);

  /// One block of online softmax. scores [key, query] become probabilities, a B
  /// operand, relative to the running maximum; maximum[] and sum[] (per query) are
  /// brought up to date and output [width, query] is rescaled. `causal`: the block lies on the
  /// diagonal. Key k is behind the window of query q where k < q + first_key (kNoWindow: none is).
  void (*softmax_block)(float* scores, float scale, bool causal, int64_t first_key, float* maximum,
                        float* sum, float* output, int64_t width, T* probabilities);
  /// out[q][d] = output[d][q] / sum[q] for the first `valid` queries;
  /// log_sum_exp[q] = maximum + log2(sum). output [width, query] is scaled in place.
  void (*finish_rows)(float* output, const float* maximum, const float* sum, int64_t valid, int64_t width,
                      T* out, int64_t row_stride, float* log_sum_exp);

  /// scores and grad_probabilities are [key, query]. Writes the probabilities and
  /// the scores' gradient as A operands, and the gradient once more as a B operand.
  void (*softmax_backward_block)(float* scores, const float* grad_probabilities, const float* log_sum_exp,
                                 const float* delta, float scale, bool causal, int64_t first_key,
                                 T* probabilities, T* grad_scores, T* grad_scores_packed);
  /// delta[r] = grad_out[r] · out[r]; 0 from `valid` on.
  void (*row_dots)(const T* grad_out, int64_t grad_stride, const T* out, int64_t out_stride, int64_t valid,
                   int64_t width, float* delta);
  /// dst[r] = src[r] for `valid` rows of float32 sums.
  void (*store_rows)(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride);
  /// dst[r][d] = src[d][r]: src [width, block].
  void (*store_transposed)(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride);
};

/// The kernels of one instruction set, by default the widest that this machine can run. Another one is for
/// tests; running it needs is_supported(isa).
template <typename T>
const AttentionKernels<T>& attention_kernels_of(Isa isa);
template <typename T>
const AttentionKernels<T>& attention_kernels();

}  // namespace longlora::ops::cpu
