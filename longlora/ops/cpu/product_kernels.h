// Block products of bfloat16 matrices with float32 sums. They are for processors whose vectors multiply pairs
// of bfloat16 (AVX512-BF16) and that have no matrix unit, where libtorch's own products reach three quarters
// of the possible rate. They take raw pointers only, like row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"

namespace longlora::ops::cpu {

/// How many columns a panel has.
constexpr int64_t kPanel = 64;
/// The most rows of a that multiply_rows() takes.
constexpr int64_t kMostUnpackedRows = 16;

/// The left operand a [m, k] in pairs of neighbours along k. Pair p of row i is at data + i · row_stride + p
/// · pair_stride, in elements. A row-major matrix has pair_stride 2. A packed panel (see pack) that is read
/// as its transpose has row_stride 2 and pair_stride 2 · kPanel.
struct LeftBlock {
  const Bf16* data;
  int64_t row_stride, pair_stride;
};

/// The right operand b [k, n], where n is a multiple of 16. Pairs of rows are interleaved: element (r, c) is
/// at data + (r / 2) · 2 · columns + 2 c + r % 2.
struct RightBlock {
  const Bf16* data;
  int64_t columns;
};

/// Where a finished block of the result goes, in bfloat16.
struct FinishedBlock {
  Bf16* data;
  int64_t row_stride;
  int64_t columns;    // how many are written; the block may have more
  const float* bias;  // [n]; null: none
};

struct ProductKernels {
  /// Computes c [m, n] = a b in float32, or with `add` adds that to c. n is at most kPanel and k is even.
  void (*multiply)(int64_t m, int64_t n, int64_t k, bool add, LeftBlock a, RightBlock b, float* c,
                   int64_t c_stride);
  /// Computes out = a b, plus c with `add`, plus the bias, and rounds once.
  void (*finish)(int64_t m, int64_t n, int64_t k, bool add, LeftBlock a, RightBlock b, const float* c,
                 int64_t c_stride, FinishedBlock out);
  /// Computes out [m, n] = a bᵀ for row-major a [m, k] and b [n, k], neither of which is packed. m is at most
  /// kMostUnpackedRows. Each element is one sum in a fixed order.
  void (*multiply_rows)(int64_t m, int64_t n, int64_t k, const Bf16* a, int64_t a_stride, const Bf16* b,
                        int64_t b_stride, Bf16* out, int64_t out_stride);
  /// Packs a panel: src [k, n <= kPanel], whose rows are row_stride apart. It is filled up with zeros to a
  /// multiple of 16 columns and an even number of rows.
  void (*pack)(const Bf16* src, int64_t row_stride, int64_t k, int64_t n, Bf16* out);
  /// Packs a panel of the transpose of src [n, k].
  void (*pack_transposed)(const Bf16* src, int64_t row_stride, int64_t k, int64_t n, Bf16* out);
};

/// Returns the kernels, or null where they cannot run or libtorch's products are faster.
const ProductKernels* product_kernels();

}  // namespace longlora::ops::cpu
