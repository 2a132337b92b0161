// The parts of blocked attention beside the block products: packing operands, the softmax of a block, and its
// derivative. They are compiled once for each instruction set, like row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// How many queries or keys a block has. A shorter block is filled up with zeros.
constexpr int64_t kAttentionBlock = 64;

/// The maximum of a query that has seen no key yet. It is below every score and above the score of a masked
/// key.
constexpr float kNoMaximum = -1e20f;

/// The first_key of a block in which the window hides no key.
constexpr int64_t kNoWindow = -kAttentionBlock;

/// The kernels of one instruction set. Scores are always [key, query], so that all values of a query are in
/// the same lane of vectors. Exponentials are powers of 2, and scores are multiplied by log2(e). A B operand
/// of a block product has the order that the product needs: [K][N] for float, and pairs of rows interleaved,
/// [K/2][N][2], for bfloat16.
template <typename T>
struct AttentionKernels {
  /// Copies rows of src, which lie row_stride apart, into out [block, width]. Rows from `valid` on become
  /// zero.
  void (*copy_block)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);
  /// Packs src, transposed, as a B operand [width × block].
  void (*pack_transposed)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);
  /// Packs src as a B operand [block × width].
  void (*pack_rows)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);
  /// Writes src, transposed, into out [width, block], which is an A operand.
  void (*transpose_block)(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out);

  /// Computes a block of online softmax. scores [key, query] become probabilities relative to the running
  /// maximum, which are a B operand. maximum[query] and sum[query] are updated, and output [width, query] is
  /// rescaled to the new maximum. `causal` says that the block lies on the diagonal. Key k is outside the
  /// window of query q where k < q + first_key (kNoWindow: none is).
  void (*softmax_block)(float* scores, float scale, bool causal, int64_t first_key, float* maximum,
                        float* sum, float* output, int64_t width, T* probabilities);
  /// Computes out[q][d] = output[d][q] / sum[q] and log_sum_exp[q] = maximum[q] + log2(sum[q]) for the first
  /// `valid` queries. output [width, query] is scaled in place.
  void (*finish_rows)(float* output, const float* maximum, const float* sum, int64_t valid, int64_t width,
                      T* out, int64_t row_stride, float* log_sum_exp);

  /// Computes the gradient of a block's scores. scores and grad_probabilities are [key, query]. Writes the
  /// probabilities and the gradient as A operands, and the gradient as a B operand, too.
  void (*softmax_backward_block)(float* scores, const float* grad_probabilities, const float* log_sum_exp,
                                 const float* delta, float scale, bool causal, int64_t first_key,
                                 T* probabilities, T* grad_scores, T* grad_scores_packed);
  /// Computes delta[r] = grad_out[r] · out[r], and 0 from row `valid` on.
  void (*row_dots)(const T* grad_out, int64_t grad_stride, const T* out, int64_t out_stride, int64_t valid,
                   int64_t width, float* delta);
  /// Copies `valid` rows of float32 sums into dst.
  void (*store_rows)(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride);
  /// Computes dst[r][d] = src[d][r] for src [width, block].
  void (*store_transposed)(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride);
};

/// Returns the kernels of an instruction set, by default of the widest that this machine can run. Others are
/// for tests, and run only where is_supported(isa).
template <typename T>
const AttentionKernels<T>& attention_kernels_of(Isa isa);
template <typename T>
const AttentionKernels<T>& attention_kernels();

}  // namespace longlora::ops::cpu
