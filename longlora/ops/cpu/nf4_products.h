// Products of a few rows with weights in 4-bit NormalFloat, straight from the codes. They are compiled once
// for each instruction set and take raw pointers only, like row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// How many elements of a row a product reads together. Their codes are 64 bytes.
constexpr int64_t kNf4Group = 128;
/// How many codes a word has, which is as wide as an element of x. Each code of a word is multiplied with
/// another vector of x.
template <typename T>
constexpr int64_t kNf4CodesPerWord = 2 * static_cast<int64_t>(sizeof(T));
/// Groups of so many neighbours share a scale whatever the size of blocks is.
constexpr int64_t kNf4Neighbours = 8;
/// A call is fastest for so many rows of the matrix, or a multiple of it.
constexpr int64_t kNf4Band = 16;

/// How many rows of x are computed together. The last m % 4 rows are, too.
constexpr int64_t kNf4LeftRows = 4;

/// How many elements a row of x has with the zeros that fill it up.
constexpr int64_t nf4_width(int64_t columns) {
  return (columns + kNf4Group - 1) / kNf4Group * kNf4Group;
}

/// The scales of blocks. That of block b is absmax[b], or with double quantisation map[codes[b]] · nested[b /
/// nested_block_size] + offset.
struct Nf4Scales {
  int64_t block_size;  // a power of two, at least kNf4Neighbours
  const float* absmax = nullptr;
  const uint8_t* codes = nullptr;
  const float* map = nullptr;
  const float* nested = nullptr;
  int64_t nested_block_size = 0;
  float offset = 0.0f;
};

/// The rows from first_row on of a matrix [rows, columns], where columns is a multiple of kNf4Neighbours.
struct Nf4RightRows {
  const uint8_t* codes;  // the codes of row 0
  Nf4Scales scales;
  int64_t columns;
  int64_t first_row;
};

struct Nf4Products {
  /// Computes out[i][j] = Σ x[i] w[j] for m rows of x and n rows of w. Each element is one float32 sum in a
  /// fixed order.
  ///
  /// x has the order in which codes are taken from their words. Its rows are divided into bundles of
  /// kNf4LeftRows, the last of which may have fewer. A bundle of R rows is divided into groups of kNf4Group
  /// columns, which are filled up with zeros beyond the columns of w. Bundles follow each other in memory,
  /// and so do the groups of a bundle. With c = kNf4CodesPerWord codes in a word, a group is a contiguous
  /// array [c][R][kNf4Group / c]. Its element [p][i][k] is column c · k + (p ^ 1) of the group in row i of
  /// the bundle. That is the column to which code p of word k belongs, counted from the lowest bits. (The
  /// first of two elements is in the upper half of a byte.)
  void (*multiply_float)(int64_t m, int64_t n, const float* x, const Nf4RightRows& w, float* out,
                         int64_t out_stride);
  /// As multiply_float, for bfloat16 x. The 16 values times a common factor are rounded to bfloat16. For
  /// normally distributed weights that changes the product by 8e-4 of its norm, which is half of what
  /// rounding each weight to bfloat16 does. Null on machines whose vectors do not multiply pairs of bfloat16.
  void (*multiply_bf16)(int64_t m, int64_t n, const Bf16* x, const Nf4RightRows& w, float* out,
                        int64_t out_stride);
  /// Puts m rows of x, which are x_stride apart, into the order above: out has m · nf4_width(columns)
  /// elements, for multiply_bf16 rounded to bfloat16.
  void (*order_float)(int64_t m, int64_t columns, const float* x, int64_t x_stride, float* out);
  void (*order_bf16)(int64_t m, int64_t columns, const float* x, int64_t x_stride, Bf16* out);
};

/// Returns the products of an instruction set, by default of the widest that this machine can run.
const Nf4Products& nf4_products_of(Isa isa);
const Nf4Products& nf4_products();

}  // namespace longlora::ops::cpu
