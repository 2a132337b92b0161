// Block products of bfloat16 matrices with float32 sums, for processors whose vectors multiply bfloat16
// pairs (AVX512-BF16) and that have no matrix unit: there libtorch's own products leave a quarter of the
// rate unused. Raw pointers only, as row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"

namespace longlora::ops::cpu {

/// Columns of a panel.
constexpr int64_t kPanel = 64;
/// The most rows of a that multiply_rows() takes, which reads b without packing it.
constexpr int64_t kMostUnpackedRows = 16;

/// a [m, k] as pairs of neighbours in k: pair p of row i lies at data + i · row_stride + p · pair_stride
/// (elements). A row-major matrix has pair_stride 2; a packed panel (below) read as its transpose has
/// row_stride 2 and pair_stride 2 · kPanel.
struct LeftBlock {
  const Bf16* data;
  int64_t row_stride, pair_stride;
};

/// b [k, n], n a multiple of 16: pairs of rows interleaved, element (r, c) at
/// data + (r / 2) · 2 · columns + 2 c + r % 2.
struct RightBlock {
  const Bf16* data;
  int64_t columns;
};

/// Where a finished block of bfloat16 goes.
struct FinishedBlock {
  Bf16* data;
  int64_t row_stride;
  int64_t columns;    // to write; the block may have more
  const float* bias;  // [n] or null
};

struct ProductKernels {
  /// c [m, n] float32 = a b, or c + a b with `add`; n <= kPanel, k even.
  void (*multiply)(int64_t m, int64_t n, int64_t k, bool add, LeftBlock a, RightBlock b, float* c,
                   int64_t c_stride);
  /// out = a b (+ c with `add`) (+ bias), rounded once.
  void (*finish)(int64_t m, int64_t n, int64_t k, bool add, LeftBlock a, RightBlock b, const float* c,
                 int64_t c_stride, FinishedBlock out);
  /// out [m, n] = a bᵀ for a few rows: a [m, k] and b [n, k] row-major as they are, m <= kMostUnpackedRows.
  /// Each element is one sum in a fixed order.
  void (*multiply_rows)(int64_t m, int64_t n, int64_t k, const Bf16* a, int64_t a_stride, const Bf16* b,
                        int64_t b_stride, Bf16* out, int64_t out_stride);
  /// One panel of src [k, n <= kPanel] with rows row_stride apart, its columns filled up to a multiple
  /// of 16, its rows to an even number, with zeros.
  void (*pack)(const Bf16* src, int64_t row_stride, int64_t k, int64_t n, Bf16* out);
  /// The same of src [n, k], transposed.
  void (*pack_transposed)(const Bf16* src, int64_t row_stride, int64_t k, int64_t n, Bf16* out);
};

/// Null where libtorch's products are the faster ones, or these cannot run.
const ProductKernels* product_kernels();

}  // namespace longlora::ops::cpu
