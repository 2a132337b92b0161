// This file is compiled for AVX-512 with bfloat16 alone. product_dispatch.cpp checks that the processor has
// it.
#include "longlora/ops/cpu/product_kernels.h"

#include <immintrin.h>

#include <cstring>

#include "longlora/ops/cpu/transpose.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

// How many rows of a are multiplied at a time. With four vectors of b they make 24 sums in registers, which
// is enough to hide the latency of an operation.
constexpr int kRows = 6;

LONGLORA_INLINE __m512bh as_pairs(__m512i bits) {
  return reinterpret_cast<__m512bh>(bits);
}

LONGLORA_INLINE __m512bh broadcast_pair(const Bf16* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return as_pairs(_mm512_set1_epi32(pair));
}

// The sums of NumRows rows and NumVectors vectors of columns.
template <int NumRows, int NumVectors>
struct Tile {
  __m512 sums[NumRows][NumVectors];

  LONGLORA_INLINE void load(bool add, const float* c, int64_t c_stride) {
    for (int i = 0; i < NumRows; ++i)
      for (int j = 0; j < NumVectors; ++j)
        sums[i][j] = add ? _mm512_loadu_ps(c + i * c_stride + j * kLanes) : _mm512_setzero_ps();
  }
  LONGLORA_INLINE void multiply(int64_t k, LeftBlock a, RightBlock b) {
    const Bf16* columns = b.data;
    const Bf16* pairs = a.data;
#pragma GCC unroll 1
    for (int64_t p = 0; p < k; p += 2, columns += 2 * b.columns, pairs += a.pair_stride) {
      __m512bh right[NumVectors];
      for (int j = 0; j < NumVectors; ++j) right[j] = as_pairs(_mm512_loadu_si512(columns + j * 2 * kLanes));
      for (int i = 0; i < NumRows; ++i) {
        const __m512bh left = broadcast_pair(pairs + i * a.row_stride);
        for (int j = 0; j < NumVectors; ++j) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], left, right[j]);
      }
    }
  }
};

template <int NumRows, int NumVectors>
void multiply_tile(int64_t k, bool add, LeftBlock a, RightBlock b, float* c, int64_t c_stride) {
  Tile<NumRows, NumVectors> tile;
  tile.load(add, c, c_stride);
  tile.multiply(k, a, b);
  for (int i = 0; i < NumRows; ++i)
    for (int j = 0; j < NumVectors; ++j) _mm512_storeu_ps(c + i * c_stride + j * kLanes, tile.sums[i][j]);
}

template <int NumRows, int NumVectors>
void finish_tile(int64_t k, bool add, LeftBlock a, RightBlock b, const float* c, int64_t c_stride,
                 FinishedBlock out) {
  Tile<NumRows, NumVectors> tile;
  tile.load(add, c, c_stride);
  tile.multiply(k, a, b);
  for (int j = 0; j < NumVectors; ++j) {
    const int64_t left = out.columns - j * kLanes;
    const auto mask = static_cast<__mmask16>(left >= kLanes ? 0xffff : (1 << left) - 1);
    const __m512 bias = out.bias ? _mm512_loadu_ps(out.bias + j * kLanes) : _mm512_setzero_ps();
    for (int i = 0; i < NumRows; ++i)
      _mm256_mask_storeu_epi16(
          out.data + i * out.row_stride + j * kLanes, mask,
          reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_add_ps(tile.sums[i][j], bias))));
  }
}

// Calls body<rows, vectors>(first row) for all rows, as many at a time as possible.
template <int NumVectors, typename Body>
LONGLORA_INLINE void for_each_tile(int64_t m, const Body& body) {
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) body.template operator()<kRows, NumVectors>(i);
  switch (m - i) {
    case 5:
      return body.template operator()<5, NumVectors>(i);
    case 4:
      return body.template operator()<4, NumVectors>(i);
    case 3:
      return body.template operator()<3, NumVectors>(i);
    case 2:
      return body.template operator()<2, NumVectors>(i);
    case 1:
      return body.template operator()<1, NumVectors>(i);
    default:
      return;
  }
}
template <typename Body>
LONGLORA_INLINE void for_each_tile(int64_t m, int64_t n, const Body& body) {
  switch (n / kLanes) {
    case 4:
      return for_each_tile<4>(m, body);
    case 3:
      return for_each_tile<3>(m, body);
    case 2:
      return for_each_tile<2>(m, body);
    default:
      return for_each_tile<1>(m, body);
  }
}

LeftBlock from_row(LeftBlock a, int64_t row) {
  return {a.data + row * a.row_stride, a.row_stride, a.pair_stride};
}

void multiply(int64_t m, int64_t n, int64_t k, bool add, LeftBlock a, RightBlock b, float* c,
              int64_t c_stride) {
  for_each_tile(m, n, [&]<int NumRows, int NumVectors>(int64_t i) {
    multiply_tile<NumRows, NumVectors>(k, add, from_row(a, i), b, c + i * c_stride, c_stride);
  });
}

void finish(int64_t m, int64_t n, int64_t k, bool add, LeftBlock a, RightBlock b, const float* c,
            int64_t c_stride, FinishedBlock out) {
  for_each_tile(m, n, [&]<int NumRows, int NumVectors>(int64_t i) {
    finish_tile<NumRows, NumVectors>(k, add, from_row(a, i), b, add ? c + i * c_stride : c, c_stride,
                                     {out.data + i * out.row_stride, out.row_stride, out.columns, out.bias});
  });
}

__mmask16 mask_of(int64_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : (1 << (count < 0 ? 0 : count)) - 1);
}

void pack(const Bf16* src, int64_t row_stride, int64_t k, int64_t n, Bf16* out) {
  const int64_t columns = (n + kLanes - 1) / kLanes * kLanes;
  for (int64_t r = 0; r < k; r += 2)
    for (int64_t c = 0; c < columns; c += kLanes) {
      const Bf16* at = src + r * row_stride + c;
      const __mmask16 mask = mask_of(n - c);
      const __m256i low = _mm256_maskz_loadu_epi16(mask, at);
      const __m256i high =
          r + 1 < k ? _mm256_maskz_loadu_epi16(mask, at + row_stride) : _mm256_setzero_si256();
      const __m512i pairs =
          _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
      _mm512_storeu_si512(out + r * columns + 2 * c, pairs);
    }
}

// Loads pairs p to p + 15 of a row of k elements. Lanes beyond its end are zero.
LONGLORA_INLINE U32x16 load_pairs(const Bf16* row, int64_t p, int64_t k) {
  const int64_t elements = k - 2 * p;
  const auto mask = static_cast<__mmask32>(
      elements >= 32 ? 0xffffffffu : (uint32_t{1} << (elements < 0 ? 0 : elements)) - 1);
  return reinterpret_cast<U32x16>(_mm512_maskz_loadu_epi16(mask, row + 2 * p));
}

void pack_transposed(const Bf16* src, int64_t row_stride, int64_t k, int64_t n, Bf16* out) {
  const int64_t columns = (n + kLanes - 1) / kLanes * kLanes, pairs = (k + 1) / 2;
  for (int64_t c = 0; c < columns; c += kLanes)
    for (int64_t p = 0; p < pairs; p += kLanes) {
      U32x16 tile[16];
      for (int64_t i = 0; i < kLanes; ++i)
        tile[i] = c + i < n ? load_pairs(src + (c + i) * row_stride, p, k) : U32x16{};
      transpose_16(tile);
      const int64_t count = pairs - p < kLanes ? pairs - p : kLanes;
      for (int64_t i = 0; i < count; ++i)
        _mm512_storeu_si512(out + (p + i) * 2 * columns + 2 * c, reinterpret_cast<__m512i>(tile[i]));
    }
}

// Computes Count neighbouring elements of a row of the result.
template <int Count>
LONGLORA_INLINE void multiply_row(int64_t k, const Bf16* a, const Bf16* b, int64_t b_stride, Bf16* out) {
  __m512 sums[Count];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (int64_t at = 0; at < k; at += 2 * kLanes) {
    const auto mask =
        static_cast<__mmask32>(k - at >= 2 * kLanes ? 0xffffffffu : (uint32_t{1} << (k - at)) - 1);
    const __m512bh left = as_pairs(_mm512_maskz_loadu_epi16(mask, a + at));
    for (int i = 0; i < Count; ++i)
      sums[i] =
          _mm512_dpbf16_ps(sums[i], left, as_pairs(_mm512_maskz_loadu_epi16(mask, b + i * b_stride + at)));
  }
  for (int i = 0; i < Count; ++i) store_one(out + i, _mm512_reduce_add_ps(sums[i]));
}

void multiply_rows(int64_t m, int64_t n, int64_t k, const Bf16* a, int64_t a_stride, const Bf16* b,
                   int64_t b_stride, Bf16* out, int64_t out_stride) {
  int64_t c = 0;
  for (; c + 4 <= n; c += 4)
    for (int64_t r = 0; r < m; ++r)
      multiply_row<4>(k, a + r * a_stride, b + c * b_stride, b_stride, out + r * out_stride + c);
  for (; c < n; ++c)
    for (int64_t r = 0; r < m; ++r)
      multiply_row<1>(k, a + r * a_stride, b + c * b_stride, b_stride, out + r * out_stride + c);
}

constexpr ProductKernels kTable = {multiply, finish, multiply_rows, pack, pack_transposed};

}  // namespace

namespace avx512_bf16 {
const ProductKernels& product_kernels() {
  return kTable;
}
}  // namespace avx512_bf16

}  // namespace longlora::ops::cpu
