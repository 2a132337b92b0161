// Compiled once per instruction set with LONGLORA_ISA naming the namespace, and with exact arithmetic
// (CMakeLists.txt): sums and products are what is written here.
#include "longlora/ops/cpu/nf4_kernels.h"

#include "longlora/ops/cpu/vectors.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace longlora::ops::cpu {
namespace {

// Codes of a pair of neighbours: the first in the upper half of a byte.
constexpr int kCodesPerWord = 8;
// As bitsandbytes: a block of zeros is divided by this.
constexpr float kLeastScale = 1e-38f;

LONGLORA_INLINE U32x16 load_words(const void* p) {
  U32x16 words;
  std::memcpy(&words, p, sizeof words);
  return words;
}

/// Sixteen bytes, each in a word.
LONGLORA_INLINE U32x16 widen_bytes(const uint8_t* p) {
  typedef uint8_t Bytes __attribute__((vector_size(16)));
  Bytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(bytes, U32x16);
}

/// The values of the lower four bits of each lane.
class Values {
 public:
#if defined(__AVX512F__)
  Values() : table_(_mm512_loadu_ps(kNf4Values)) {}
  LONGLORA_INLINE F32x16 operator[](U32x16 codes) const {
    return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(codes), table_);
  }

 private:
  __m512 table_;
#elif defined(__AVX2__)
  Values() : low_(_mm256_loadu_ps(kNf4Values)), high_(_mm256_loadu_ps(kNf4Values + 8)) {}
  LONGLORA_INLINE F32x16 operator[](U32x16 codes) const {
    __m256i halves[2];
    std::memcpy(halves, &codes, sizeof halves);
    __m256 found[2];
    for (int h = 0; h < 2; ++h) {
      const __m256 low = _mm256_permutevar8x32_ps(low_, halves[h]);
      const __m256 high = _mm256_permutevar8x32_ps(high_, halves[h]);
      found[h] = _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(halves[h], 28)));
    }
    F32x16 values;
    std::memcpy(&values, found, sizeof values);
    return values;
  }

 private:
  __m256 low_, high_;
#else
  LONGLORA_INLINE F32x16 operator[](U32x16 codes) const {
    F32x16 values = {};
    for (int64_t l = 0; l < kLanes; ++l) values[l] = kNf4Values[codes[l] & 15u];
    return values;
  }
#endif
};

LONGLORA_INLINE F32x16 fused_add(F32x16 a, F32x16 b, F32x16 sum) {  // a b + sum
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, sum);
#elif defined(__FMA__)
  __m256 left[2], right[2], sums[2];
  std::memcpy(left, &a, sizeof left);
  std::memcpy(right, &b, sizeof right);
  std::memcpy(sums, &sum, sizeof sums);
  for (int h = 0; h < 2; ++h) sums[h] = _mm256_fmadd_ps(left[h], right[h], sums[h]);
  std::memcpy(&sum, sums, sizeof sums);
  return sum;
#else
  return a * b + sum;
#endif
}

/// The lower eight lanes one value, the upper eight another.
LONGLORA_INLINE F32x16 two_halves(float low, float high) {
#if defined(__AVX512F__)
  return _mm512_mask_mov_ps(_mm512_set1_ps(low), 0xff00, _mm512_set1_ps(high));
#else
  F32x16 both = broadcast(low);
  for (int64_t l = kLanes / 2; l < kLanes; ++l) both[l] = high;
  return both;
#endif
}

/// Between which neighbours of the 16 values lanes lie, as many as are below them.
LONGLORA_INLINE U32x16 nearest_codes(F32x16 x) {
  I32x16 codes = {};
  for (int i = 0; i < 15; ++i) {
    const float middle = (kNf4Values[i] + kNf4Values[i + 1]) / 2.0f;
    codes -= x > broadcast(middle);
  }
  return reinterpret_cast<U32x16>(codes);
}

bool quantize(const float* x, int64_t num_blocks, int64_t block_size, float* absmax, uint8_t* codes) {
  constexpr uint32_t kMagnitude = 0x7fffffffu, kInfinity = 0x7f800000u;
  for (int64_t b = 0; b < num_blocks; ++b, x += block_size, codes += block_size / 2) {
    U32x16 largest = {};  // bits of magnitudes: they order as the numbers do
    for (int64_t i = 0; i < block_size; i += kLanes) {
      const U32x16 magnitude = load_words(x + i) & kMagnitude;
      largest = magnitude > largest ? magnitude : largest;
    }
    uint32_t bits = 0;
    for (int64_t l = 0; l < kLanes; ++l) bits = largest[l] > bits ? largest[l] : bits;
    if (bits >= kInfinity) return false;
    std::memcpy(&absmax[b], &bits, sizeof bits);
    const F32x16 inverse = broadcast(1.0f / (absmax[b] < kLeastScale ? kLeastScale : absmax[b]));
    for (int64_t i = 0; i < block_size; i += kLanes) {
      uint32_t found[kLanes];
      const U32x16 nearest = nearest_codes(load_16(x + i) * inverse);
      std::memcpy(found, &nearest, sizeof found);
      for (int64_t p = 0; p < kLanes / 2; ++p)
        codes[i / 2 + p] = static_cast<uint8_t>(found[2 * p] << 4 | found[2 * p + 1]);
    }
  }
  return true;
}

void scales(const uint8_t* codes, int64_t count, const float* map, float scale, float offset, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = map[codes[i]] * scale + offset;
}

LONGLORA_INLINE float value_at(const uint8_t* codes, int64_t element) {
  return kNf4Values[(codes[element / 2] >> (element % 2 == 0 ? 4 : 0)) & 15];
}

/// Thirty-two neighbours, of which `even` has those at even places.
LONGLORA_INLINE void store_pairs(Bf16* out, F32x16 even, F32x16 odd) {
  const U32x16 low = __builtin_convertvector(narrow(even), U32x16),
               high = __builtin_convertvector(narrow(odd), U32x16);
  const U32x16 pairs = low | (high << 16);
  std::memcpy(out, &pairs, sizeof pairs);
}
LONGLORA_INLINE void store_pairs(float* out, F32x16 even, F32x16 odd) {
#if defined(__AVX512F__)
  alignas(64) static constexpr uint32_t kFirst[16] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
  alignas(64) static constexpr uint32_t kSecond[16] = {8,  24, 9,  25, 10, 26, 11, 27,
                                                       12, 28, 13, 29, 14, 30, 15, 31};
  store_16(out, _mm512_permutex2var_ps(even, _mm512_load_si512(kFirst), odd));
  store_16(out + kLanes, _mm512_permutex2var_ps(even, _mm512_load_si512(kSecond), odd));
#else
  float first[kLanes], second[kLanes];
  store_16(first, even);
  store_16(second, odd);
  for (int64_t l = 0; l < kLanes; ++l) {
    out[2 * l] = first[l];
    out[2 * l + 1] = second[l];
  }
#endif
}

template <typename T>
void dequantize(const uint8_t* codes, int64_t first, int64_t count, float scale, T* out) {
  const Values values;
  const F32x16 all_scale = broadcast(scale);
  int64_t i = 0;
  if (first % 2 != 0 && count > 0) {
    store_one(out, value_at(codes, first) * scale);
    ++i;
  }
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    const U32x16 bytes = widen_bytes(codes + (first + i) / 2);
    store_pairs(out + i, values[bytes >> 4] * all_scale, values[bytes] * all_scale);
  }
  for (; i < count; ++i) store_one(out + i, value_at(codes, first + i) * scale);
}

/// Scales of the blocks that group g of a row has its elements in.
template <bool IsHalf>
LONGLORA_INLINE F32x16 group_scales(const float* row, int64_t g, int64_t block_size) {
  if (block_size >= kNf4Group) return broadcast(row[g / (block_size / kNf4Group)]);
  return IsHalf ? broadcast(row[2 * g]) : two_halves(row[2 * g], row[2 * g + 1]);
}

/// The codes of a group, or of its first half and zeros.
template <bool IsHalf>
LONGLORA_INLINE U32x16 load_codes(const uint8_t* p) {
  if (!IsHalf) return load_words(p);
  uint8_t part[kNf4Group / 2] = {};
  std::memcpy(part, p, kNf4Group / 4);
  return load_words(part);
}

/// What a tile of the product of few rows works on.
struct FewRows {
  Nf4LeftRows x;
  const uint8_t* codes;
  const float* scales;
  int64_t k, block_size;
  float* out;
  int64_t out_stride;
};

/// NumLeft rows of x and NumRight rows of w.
template <int NumLeft, int NumRight>
struct FewRowsTile {
  F32x16 totals[NumRight][NumLeft] = {};

  template <bool IsHalf>
  LONGLORA_INLINE void add_group(const FewRows& of, const Values& values, int64_t g) {
    const float* x = of.x.data + g * kNf4Group;
    U32x16 words[NumRight];
    for (int r = 0; r < NumRight; ++r)
      words[r] = load_codes<IsHalf>(of.codes + r * (of.k / 2) + g * (kNf4Group / 2));
    F32x16 sums[NumRight][NumLeft] = {};
#pragma GCC unroll 8
    for (int n = 0; n < kCodesPerWord; ++n) {
      F32x16 left[NumLeft];
      for (int m = 0; m < NumLeft; ++m) left[m] = load_16(x + m * of.x.row_stride + n * kLanes);
      for (int r = 0; r < NumRight; ++r) {
        const F32x16 right = values[words[r] >> (4 * n)];
        for (int m = 0; m < NumLeft; ++m) sums[r][m] = fused_add(left[m], right, sums[r][m]);
      }
    }
    for (int r = 0; r < NumRight; ++r) {
      const F32x16 scale = group_scales<IsHalf>(of.scales + r * (of.k / of.block_size), g, of.block_size);
      for (int m = 0; m < NumLeft; ++m) totals[r][m] = fused_add(sums[r][m], scale, totals[r][m]);
    }
  }
};

template <int NumLeft, int NumRight>
LONGLORA_INLINE void multiply_tile(const FewRows& of) {
  const Values values;
  FewRowsTile<NumLeft, NumRight> tile;
  const int64_t whole = of.k / kNf4Group;
  for (int64_t g = 0; g < whole; ++g) tile.template add_group<false>(of, values, g);
  if (of.k % kNf4Group != 0) tile.template add_group<true>(of, values, whole);
  for (int r = 0; r < NumRight; ++r)
    for (int m = 0; m < NumLeft; ++m) of.out[m * of.out_stride + r] = sum_of_lanes(tile.totals[r][m]);
}

template <int NumLeft, int NumRight>
void multiply_band(FewRows of, int64_t n) {
  const auto advance = [&](int64_t rows) {
    of.codes += rows * (of.k / 2);
    of.scales += rows * (of.k / of.block_size);
    of.out += rows;
  };
  int64_t r = 0;
  for (; r + NumRight <= n; r += NumRight, advance(NumRight)) multiply_tile<NumLeft, NumRight>(of);
  for (; r < n; ++r, advance(1)) multiply_tile<NumLeft, 1>(of);
}

void multiply_rows(int64_t m, int64_t n, int64_t k, Nf4LeftRows x, const uint8_t* codes, const float* scales,
                   int64_t block_size, float* out, int64_t out_stride) {
  for (int64_t i = 0; i < m;) {
    const int64_t left = m - i;
    const FewRows of = {{x.data + i * x.row_stride, x.row_stride},
                        codes,
                        scales,
                        k,
                        block_size,
                        out + i * out_stride,
                        out_stride};
    if (left >= 4) {
      multiply_band<4, 2>(of, n);
      i += 4;
    } else if (left >= 2) {
      multiply_band<2, 4>(of, n);
      i += 2;
    } else {
      multiply_band<1, 4>(of, n);
      i += 1;
    }
  }
}

constexpr Nf4Kernels kTable = {quantize, scales, dequantize<float>, dequantize<Bf16>, multiply_rows};

}  // namespace

namespace LONGLORA_ISA {
const Nf4Kernels& nf4_kernels() {
  return kTable;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
