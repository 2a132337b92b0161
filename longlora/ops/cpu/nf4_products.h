// Products of a few rows with weights in 4-bit NormalFloat, straight from the codes, compiled once per
// instruction set. Raw pointers only, as row_kernels.h.
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

/// Elements that a product goes through together: 64 bytes of codes.
constexpr int64_t kNf4Group = 128;
/// Codes of a word, each of which meets another vector of x. A word is as wide as an element of x.
template <typename T>
constexpr int64_t kNf4CodesPerWord = 2 * static_cast<int64_t>(sizeof(T));
/// Neighbours that share a scale wherever a block begins.
constexpr int64_t kNf4Neighbours = 8;
/// Rows of the matrix that are best asked for at once, or multiples of it.
constexpr int64_t kNf4Band = 16;

/// Rows of x that go together; the last m % 4 do too.
constexpr int64_t kNf4LeftRows = 4;

/// The scales of blocks: absmax[b], or map[codes[b]] · nested[b / nested_block_size] + offset where there are
/// codes.
struct Nf4Scales {
  int64_t block_size;  // a power of two, at least kNf4Neighbours
  const float* absmax = nullptr;
  const uint8_t* codes = nullptr;
  const float* map = nullptr;
  const float* nested = nullptr;
  int64_t nested_block_size = 0;
  float offset = 0.0f;
};

/// A matrix [rows, columns], columns a multiple of kNf4Neighbours, from first_row on.
struct Nf4RightRows {
  const uint8_t* codes;  // of row 0
  Nf4Scales scales;
  int64_t columns;
  int64_t first_row;
};

struct Nf4Products {
  /// out[i][j] = Σ x[i] w[j] for m rows of x and n rows of w, float32 sums. Each element is one sum in a
  /// fixed order.
  ///
  /// x lies in the order in which codes come out of their words. Its rows are cut into bundles of
  /// kNf4LeftRows, the last of which may have fewer, and a bundle of R rows into groups of kNf4Group columns,
  /// filled up with zeros beyond the columns of w. Bundles follow one another, and in a bundle its groups.
  /// With c = kNf4CodesPerWord codes in a word, a group is a contiguous array [c][R][kNf4Group / c], of which
  /// element [p][i][k] is column c · k + (p ^ 1) of the group in row i of the bundle: the one that code p,
  /// counted from the lowest bits, of word k belongs to. (The first of two elements is in the upper half of a
  /// byte.)
  void (*multiply_float)(int64_t m, int64_t n, const float* x, const Nf4RightRows& w, float* out,
                         int64_t out_stride);
  /// The same of bfloat16 x. The 16 values are bfloat16 numbers in it, with a common factor that makes them
  /// fit: of normally distributed weights they change the product by 8e-4 of its norm, half of what rounding
  /// each weight to bfloat16 does. Null where vectors do not multiply bfloat16 pairs.
  void (*multiply_bf16)(int64_t m, int64_t n, const Bf16* x, const Nf4RightRows& w, float* out,
                        int64_t out_stride);
};

/// The products of one instruction set, by default the widest that this machine can run.
const Nf4Products& nf4_products_of(Isa isa);
const Nf4Products& nf4_products();

}  // namespace longlora::ops::cpu
