// This file is compiled once for each instruction set. LONGLORA_ISA is the namespace.
#include "longlora/ops/cpu/attention_kernels.h"

#include <cmath>
#include <type_traits>

#include "longlora/ops/cpu/transpose.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

constexpr int64_t kBlock = kAttentionBlock;
constexpr float kLog2E = 1.44269504088896341f;

// The score of a masked key. It is far below any real score, and finite, so that no NaN can arise.
constexpr float kMasked = -1e30f;

// How many rows a B operand interleaves.
template <typename T>
constexpr int64_t kInterleave = std::is_same_v<T, Bf16> ? 2 : 1;

#if defined(__AVX512F__)
// Calls emit(column, row, vector) for each of `columns` columns of 32 bits in a block, with sixteen of its
// rows at a time. Rows from `valid` on are zero.
template <typename T, typename Emit>
LONGLORA_INLINE void for_each_column(const T* src, int64_t row_stride, int64_t valid, int64_t columns,
                                     const Emit& emit) {
  for (int64_t row = 0; row < kBlock; row += 16)
    for (int64_t column = 0; column < columns; column += 16) {
      U32x16 tile[16];
      for (int64_t r = 0; r < 16; ++r)
        tile[r] = row + r < valid ? load_columns(src + (row + r) * row_stride, column, columns) : U32x16{};
      transpose_16(tile);
      const int64_t count = columns - column < 16 ? columns - column : 16;
      for (int64_t c = 0; c < count; ++c) emit(column + c, row, tile[c]);
    }
}
#endif

template <typename T>
void copy_block(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out) {
  for (int64_t r = 0; r < valid; ++r)
    std::memcpy(out + r * width, src + r * row_stride, static_cast<size_t>(width) * sizeof(T));
  if (valid < kBlock)
    std::memset(static_cast<void*>(out + valid * width), 0,
                static_cast<size_t>((kBlock - valid) * width) * sizeof(T));
}

template <typename T>
void transpose_block(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out) {
#if defined(__AVX512F__)
  for_each_column(src, row_stride, valid, width / kInterleave<T>, [&](int64_t column, int64_t row, U32x16 v) {
    if constexpr (std::is_same_v<T, Bf16>) {
      const U16x16 even = __builtin_convertvector(v & 0xffffu, U16x16);
      const U16x16 odd = __builtin_convertvector(v >> 16, U16x16);
      std::memcpy(out + 2 * column * kBlock + row, &even, sizeof even);
      std::memcpy(out + (2 * column + 1) * kBlock + row, &odd, sizeof odd);
    } else {
      store_16(out + column * kBlock + row, from_bits(v));
    }
  });
#else
  for (int64_t r = 0; r < kBlock; ++r)
    for (int64_t d = 0; d < width; ++d) out[d * kBlock + r] = r < valid ? src[r * row_stride + d] : T{};
#endif
}

template <typename T>
void pack_transposed(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out) {
  constexpr int64_t F = kInterleave<T>;
#if defined(__AVX512F__)
  // A pair of bfloat16 is moved as one element of 32 bits.
  for_each_column(src, row_stride, valid, width / F, [&](int64_t column, int64_t row, U32x16 v) {
    std::memcpy(static_cast<void*>(out + (column * kBlock + row) * F), &v, sizeof v);
  });
#else
  for (int64_t d = 0; d < width; d += F)
    for (int64_t r = 0; r < kBlock; ++r)
      for (int64_t f = 0; f < F; ++f)
        out[d * kBlock + r * F + f] = r < valid ? src[r * row_stride + d + f] : T{};
#endif
}

void pack_rows(const float* src, int64_t row_stride, int64_t valid, int64_t width, float* out) {
  copy_block(src, row_stride, valid, width, out);
}

void pack_rows(const Bf16* src, int64_t row_stride, int64_t valid, int64_t width, Bf16* out) {
  for (int64_t r = 0; r < kBlock; r += 2)
    for (int64_t d = 0; d < width; d += kLanes) {
      const int64_t count = width - d < kLanes ? width - d : kLanes;
      U16x16 rows[2] = {};
      for (int64_t f = 0; f < 2; ++f)
        if (r + f < valid)
          std::memcpy(&rows[f], src + (r + f) * row_stride + d, static_cast<size_t>(count) * sizeof(Bf16));
      const U32x16 pairs =
          __builtin_convertvector(rows[0], U32x16) | (__builtin_convertvector(rows[1], U32x16) << 16);
      std::memcpy(static_cast<void*>(out + r * width + 2 * d), &pairs, static_cast<size_t>(count) * 4);
    }
}

// Writes kMasked where a query does not see a key.
void mask_scores(float* scores, bool causal, int64_t first_key) {
  for (int64_t k = 0; k < kBlock; ++k) {
    float* row = scores + k * kBlock;
    // The queries [first, last) see key k. Earlier ones do not where the block lies on the diagonal, and
    // later ones do not where the key is outside their window.
    const int64_t reach = k - first_key + 1, first = causal ? k : 0;
    const int64_t last = reach < 0 ? 0 : (reach < kBlock ? reach : kBlock);
    for (int64_t q = 0; q < first; ++q) row[q] = kMasked;
    for (int64_t q = last; q < kBlock; ++q) row[q] = kMasked;
  }
}

bool is_masked(bool causal, int64_t first_key) {
  return causal || first_key > 1 - kBlock;
}

// Stores rows k and k + 1 of a B operand for queries q to q + 15.
LONGLORA_INLINE void store_pair(float* packed, int64_t k, int64_t q, F32x16 a, F32x16 b) {
  store_16(packed + k * kBlock + q, a);
  store_16(packed + (k + 1) * kBlock + q, b);
}
LONGLORA_INLINE void store_pair(Bf16* packed, int64_t k, int64_t q, F32x16 a, F32x16 b) {
#if defined(__AVX512BF16__)
  const __m512i order =
      _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008,
                       0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a));
  const __m512i pairs = _mm512_permutexvar_epi16(order, both);
#else
  const U32x16 pairs = rounded_bits(a) | (rounded_bits(b) << 16);
#endif
  std::memcpy(static_cast<void*>(packed + k * kBlock + 2 * q), &pairs, sizeof pairs);
}

template <typename T>
void softmax_block(float* scores, float scale, bool causal, int64_t first_key, float* maximum, float* sum,
                   float* output, int64_t width, T* probabilities) {
  // A query that sees no key of this block keeps its maximum, because even kNoMaximum is above a masked
  // score. The exponentials of masked scores are therefore zero.
  if (is_masked(causal, first_key)) mask_scores(scores, causal, first_key);
  const F32x16 factor = broadcast(scale * kLog2E);
  for (int64_t q = 0; q < kBlock; q += kLanes) {
    const float* column = scores + q;
    F32x16 top[4];
    for (int64_t c = 0; c < 4; ++c) top[c] = load_16(column + c * kBlock);
    for (int64_t k = 4; k < kBlock; k += 4)
      for (int64_t c = 0; c < 4; ++c) top[c] = larger(top[c], load_16(column + (k + c) * kBlock));
    const F32x16 before = load_16(maximum + q);
    const F32x16 best = larger(before, larger(larger(top[0], top[1]), larger(top[2], top[3])) * factor);
    F32x16 even = {}, odd = {};
    for (int64_t k = 0; k < kBlock; k += 2) {
      const F32x16 a = exp2_of(load_16(column + k * kBlock) * factor - best);
      const F32x16 b = exp2_of(load_16(column + (k + 1) * kBlock) * factor - best);
      even += a;
      odd += b;
      store_pair(probabilities, k, q, a, b);
    }
    const F32x16 rescale = exp2_of(before - best);
    store_16(maximum + q, best);
    store_16(sum + q, load_16(sum + q) * rescale + (even + odd));
    // In most blocks no maximum changes, and nothing has to be rescaled.
    if (largest_lane(best - before) > 0.0f)
      for (int64_t d = 0; d < width; ++d)
        store_16(output + d * kBlock + q, load_16(output + d * kBlock + q) * rescale);
  }
}

template <typename T>
void store_transposed(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride) {
#if defined(__AVX512F__)
  for (int64_t row = 0; row < valid; row += 16)
    for (int64_t d = 0; d < width; d += 16) {
      const int64_t count = width - d < 16 ? width - d : 16;
      U32x16 tile[16];
      for (int64_t c = 0; c < 16; ++c)
        tile[c] = c < count ? as_bits(load_16(src + (d + c) * kBlock + row)) : U32x16{};
      transpose_16(tile);
      const int64_t rows = valid - row < 16 ? valid - row : 16;
      for (int64_t r = 0; r < rows; ++r) {
        T* out = dst + (row + r) * row_stride + d;
        if (count == 16)
          store_16(out, from_bits(tile[r]));
        else
          store_part(out, from_bits(tile[r]), count);
      }
    }
#else
  for (int64_t r = 0; r < valid; ++r)
    for (int64_t d = 0; d < width; ++d) store_one(dst + r * row_stride + d, src[d * kBlock + r]);
#endif
}

template <typename T>
void finish_rows(float* output, const float* maximum, const float* sum, int64_t valid, int64_t width, T* out,
                 int64_t row_stride, float* log_sum_exp) {
  for (int64_t q = 0; q < kBlock; q += kLanes) {
    const F32x16 inverse = 1.0f / load_16(sum + q);
    for (int64_t d = 0; d < width; ++d)
      store_16(output + d * kBlock + q, load_16(output + d * kBlock + q) * inverse);
  }
  for (int64_t q = 0; q < valid; ++q) log_sum_exp[q] = maximum[q] + std::log2(sum[q]);
  store_transposed(output, valid, width, out, row_stride);
}

template <typename T>
void softmax_backward_block(float* scores, const float* grad_probabilities, const float* log_sum_exp,
                            const float* delta, float scale, bool causal, int64_t first_key, T* probabilities,
                            T* grad_scores, T* grad_scores_packed) {
  if (is_masked(causal, first_key)) mask_scores(scores, causal, first_key);
  const F32x16 factor = broadcast(scale * kLog2E);
  for (int64_t q = 0; q < kBlock; q += kLanes) {
    const F32x16 total = load_16(log_sum_exp + q), shift = load_16(delta + q) * scale;
    for (int64_t k = 0; k < kBlock; k += 2) {
      F32x16 grad[2];
      for (int64_t f = 0; f < 2; ++f) {
        const int64_t place = (k + f) * kBlock + q;
        const F32x16 p = exp2_of(load_16(scores + place) * factor - total);
        grad[f] = p * (load_16(grad_probabilities + place) * scale - shift);
        store_16(probabilities + place, p);
        store_16(grad_scores + place, grad[f]);
      }
      // In float32 A and B operands have the same form.
      if constexpr (std::is_same_v<T, Bf16>) store_pair(grad_scores_packed, k, q, grad[0], grad[1]);
    }
  }
}

template <typename T>
void row_dots(const T* grad_out, int64_t grad_stride, const T* out, int64_t out_stride, int64_t valid,
              int64_t width, float* delta) {
  for (int64_t r = 0; r < kBlock; ++r) {
    const T* a = grad_out + r * grad_stride;
    const T* b = out + r * out_stride;
    delta[r] = r < valid ? sum_over(width, [&](const auto& at) { return at.load(a) * at.load(b); }) : 0.0f;
  }
}

template <typename T>
void store_rows(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride) {
  for (int64_t r = 0; r < valid; ++r) {
    const float* from = src + r * width;
    T* to = dst + r * row_stride;
    for_each_vector(width, [&](const auto& at) { at.store(to, at.load(from)); });
  }
}

template <typename T>
constexpr AttentionKernels<T> kAttentionTable = {
    copy_block<T>,  pack_transposed<T>,        pack_rows,   transpose_block<T>, softmax_block<T>,
    finish_rows<T>, softmax_backward_block<T>, row_dots<T>, store_rows<T>,      store_transposed<T>};

}  // namespace

namespace LONGLORA_ISA {
const AttentionKernels<float>& float_attention_kernels() {
  return kAttentionTable<float>;
}
const AttentionKernels<Bf16>& bf16_attention_kernels() {
  return kAttentionTable<Bf16>;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
