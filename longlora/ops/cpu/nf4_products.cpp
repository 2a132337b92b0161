// This file is compiled once for each instruction set. LONGLORA_ISA is the namespace. The compiler may not
// change the arithmetic (CMakeLists.txt), so that the order of a sum is the same for any number of rows.
#include "longlora/ops/cpu/nf4_products.h"

#include "longlora/ops/cpu/nf4_lookup.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

// How many groups of one row of x fit into a first-level cache with codes and scales.
constexpr int64_t kChunkGroups = 64;

static_assert(kNf4Group == kLanes * kNf4Neighbours, "a lane has neighbours that share a scale");

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

// Keeps the words in a register. The compiler would load them again for every shift.
LONGLORA_INLINE U32x16 in_register(U32x16 words) {
#if defined(__AVX512F__)
  asm("" : "+v"(words));
#endif
  return words;
}

// The types and functions by which elements of x are multiplied with the values.
struct FloatFactors {
  using Element = float;
  using Values = FloatValues;
  static constexpr float kFactor = 1.0f;
  static LONGLORA_INLINE F32x16 load(const float* p) { return load_16(p); }
};

#if defined(__AVX512BF16__)
LONGLORA_INLINE F32x16 fused_add(__m512bh a, __m512bh b, F32x16 sum) {
  return _mm512_dpbf16_ps(sum, a, b);
}

// Looks up the values of the lower four bits of each half lane, times a factor and rounded to bfloat16. The
// factor is the one, in steps of 5e-6 between 1 and 2, that gives the least squared error for the codes of
// normally distributed weights in blocks of 64.
class Bf16Values {
 public:
  static constexpr float kFactor = 1.4367f;
  Bf16Values() {
    const auto values = reinterpret_cast<__m256i>(narrow(load_16(kNf4Values) * broadcast(kFactor)));
    // The table has the values twice, because the fifth bit of an index belongs to another code.
    table_ = _mm512_inserti64x4(_mm512_castsi256_si512(values), values, 1);
  }
  LONGLORA_INLINE __m512bh operator[](U32x16 codes) const {
    return reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(reinterpret_cast<__m512i>(codes), table_));
  }

 private:
  __m512i table_;
};

struct Bf16Factors {
  using Element = Bf16;
  using Values = Bf16Values;
  static constexpr float kFactor = Bf16Values::kFactor;
  static LONGLORA_INLINE __m512bh load(const Bf16* p) {
    return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
  }
};
#endif

typedef float F32x8 __attribute__((vector_size(32)));

LONGLORA_INLINE F32x8 eight(float value) {
  return value - F32x8{};
}

// Writes the scale of each of `count` blocks `lanes` times. May write up to seven floats beyond.
template <typename ScaleOf>
LONGLORA_INLINE void fill_lanes(int64_t block, int64_t count, int64_t lanes, float* out,
                                const ScaleOf& scale_of) {
  if (lanes == 8) {  // blocks of 64
#pragma GCC unroll 4
    for (int64_t b = 0; b < count; ++b) {
      const F32x8 scale = scale_of(block + b);
      std::memcpy(out + 8 * b, &scale, sizeof scale);
    }
    return;
  }
  for (int64_t b = 0; b < count; ++b, out += lanes) {
    const F32x8 scale = scale_of(block + b);
    for (int64_t i = 0; i < lanes; i += 8) std::memcpy(out + i, &scale, sizeof scale);
  }
}

// Writes the scales of lanes [first, first + count), each of which has kNf4Neighbours elements. May write up
// to seven floats beyond.
void spread_scales(Nf4Scales scales, int64_t first, int64_t count, float* out) {
  const int64_t block_lanes = scales.block_size / kNf4Neighbours;
  const int shift = __builtin_ctzll(static_cast<uint64_t>(block_lanes));
  for (int64_t at = first; at < first + count;) {
    // A step writes complete blocks with the same nested scale, or a part of a block.
    const int64_t block = at >> shift, place = at - (block << shift), left = first + count - at;
    const bool is_whole = place == 0 && left >= block_lanes;
    int64_t lanes = is_whole ? block_lanes : block_lanes - place, blocks = is_whole ? left >> shift : 1;
    lanes = lanes < left ? lanes : left;
    if (scales.codes == nullptr) {
      fill_lanes(block, blocks, lanes, out, [=](int64_t b) { return eight(scales.absmax[b]); });
    } else {
      const int64_t nested = block / scales.nested_block_size;
      const int64_t same = (nested + 1) * scales.nested_block_size - block;
      blocks = blocks < same ? blocks : same;
      const F32x8 factor = eight(scales.nested[nested]), offset = eight(scales.offset);
      fill_lanes(block, blocks, lanes, out,
                 [=](int64_t b) { return eight(scales.map[scales.codes[b]]) * factor + offset; });
    }
    at += blocks * lanes;
    out += blocks * lanes;
  }
}

// Loads the codes of a group, or those of its first `count` elements and zeros.
LONGLORA_INLINE U32x16 load_codes(const uint8_t* p) {
  return load_words(p);
}
LONGLORA_INLINE U32x16 load_codes(const uint8_t* p, int64_t count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<__mmask16>((1u << (count / kNf4Neighbours)) - 1u);
  return reinterpret_cast<U32x16>(_mm512_maskz_loadu_epi32(mask, p));
#else
  uint8_t part[kNf4Group / 2] = {};
  std::memcpy(part, p, static_cast<size_t>(count / 2));
  return load_words(part);
#endif
}

// The products of NumLeft rows of x and NumRight rows of w.
template <typename Factors, int NumLeft, int NumRight>
struct Tile {
  using Element = typename Factors::Element;
  static constexpr int64_t kCodes = kNf4CodesPerWord<Element>, kWords = kNf4Group / kCodes;
  static constexpr int64_t kGroups = kChunkGroups / NumLeft;
  // The distance between the scales of two rows: the lanes of a chunk, and room for what spread_scales()
  // writes beyond.
  static constexpr int64_t kScalesApart = (kGroups + 1) * kLanes;

  F32x16 totals[NumRight][NumLeft];

  // Adds the products of a group. load(r) returns its codes in row r of w.
  template <typename Load>
  LONGLORA_INLINE void add_group(const Element* x, const float* scales,
                                 const typename Factors::Values& values, const Load& load) {
    U32x16 words[NumRight];
    for (int r = 0; r < NumRight; ++r) words[r] = in_register(load(r));
    F32x16 sums[NumRight][NumLeft] = {};
#pragma GCC unroll 8
    for (int n = 0; n < kCodes; ++n)
      for (int r = 0; r < NumRight; ++r) {
        const auto right = values[words[r] >> (4 * n)];
        for (int m = 0; m < NumLeft; ++m)
          sums[r][m] = fused_add(Factors::load(x + (n * NumLeft + m) * kWords), right, sums[r][m]);
      }
    for (int r = 0; r < NumRight; ++r) {
      const F32x16 scale = load_16(scales + r * kScalesApart);
      for (int m = 0; m < NumLeft; ++m) totals[r][m] = fused_add(sums[r][m], scale, totals[r][m]);
    }
  }

  // Adds the products of elements [begin, begin + count) of w's rows from `row` on. x begins at the same
  // element.
  static void add_chunk(const Element* x, const Nf4RightRows& w, int64_t row, int64_t begin, int64_t count,
                        F32x16* sums) {
    const int64_t whole = count / kNf4Group, rest = count % kNf4Group, row_bytes = w.columns / 2;
    alignas(64) float scales[NumRight * kScalesApart];
    for (int r = 0; r < NumRight; ++r) {
      float* const to = scales + r * kScalesApart;
      if (rest != 0) store_16(to + whole * kLanes, F32x16{});
      spread_scales(w.scales, ((row + r) * w.columns + begin) / kNf4Neighbours, count / kNf4Neighbours, to);
    }
    const typename Factors::Values values;
    Tile tile;
    for (int r = 0; r < NumRight; ++r)
      for (int m = 0; m < NumLeft; ++m) tile.totals[r][m] = sums[r * NumLeft + m];
    const uint8_t* codes = w.codes + (row * w.columns + begin) / 2;
    const float* scale = scales;
    for (int64_t g = 0; g < whole; ++g) {
      // The codes of the next rows are too far away for the processor to load them ahead by itself.
      for (int r = 0; r < NumRight; ++r) __builtin_prefetch(codes + (NumRight + r) * row_bytes);
      tile.add_group(x, scale, values, [=](int r) { return load_codes(codes + r * row_bytes); });
      x += kNf4Group * NumLeft;
      scale += kLanes;
      codes += kNf4Group / 2;
    }
    if (rest != 0)
      tile.add_group(x, scale, values, [=](int r) { return load_codes(codes + r * row_bytes, rest); });
    for (int r = 0; r < NumRight; ++r)
      for (int m = 0; m < NumLeft; ++m) sums[r * NumLeft + m] = tile.totals[r][m];
  }
};

// Multiplies NumLeft rows of x with a band of n rows of w from `row` on.
template <typename Factors, int NumLeft, int NumRight>
void multiply_band(int64_t n, const typename Factors::Element* x, const Nf4RightRows& w, int64_t row,
                   float* out, int64_t out_stride) {
  F32x16 sums[kNf4Band * NumLeft] = {};
  constexpr int64_t kChunk = Tile<Factors, NumLeft, NumRight>::kGroups * kNf4Group;
  for (int64_t begin = 0; begin < w.columns; begin += kChunk) {
    const int64_t left = w.columns - begin, count = left < kChunk ? left : kChunk;
    const auto* const part = x + begin * NumLeft;
    int64_t r = 0;
    for (; r + NumRight <= n; r += NumRight)
      Tile<Factors, NumLeft, NumRight>::add_chunk(part, w, row + r, begin, count, sums + r * NumLeft);
    for (; r < n; ++r)
      Tile<Factors, NumLeft, 1>::add_chunk(part, w, row + r, begin, count, sums + r * NumLeft);
  }
  for (int64_t r = 0; r < n; ++r)
    for (int m = 0; m < NumLeft; ++m)
      out[m * out_stride + r] = sum_of_lanes(sums[r * NumLeft + m]) * (1.0f / Factors::kFactor);
}

template <typename Factors>
void multiply(int64_t m, int64_t n, const typename Factors::Element* x, const Nf4RightRows& w, float* out,
              int64_t out_stride) {
  const int64_t width = (w.columns + kNf4Group - 1) / kNf4Group * kNf4Group;
  for (int64_t r = 0; r < n; r += kNf4Band) {
    const int64_t band = n - r < kNf4Band ? n - r : kNf4Band, row = w.first_row + r;
    for (int64_t i = 0; i < m; i += kNf4LeftRows) {
      const auto* const rows = x + i * width;
      float* const to = out + i * out_stride + r;
      switch (m - i) {
        case 1:
          multiply_band<Factors, 1, 4>(band, rows, w, row, to, out_stride);
          break;
        case 2:
          multiply_band<Factors, 2, 4>(band, rows, w, row, to, out_stride);
          break;
        case 3:
          multiply_band<Factors, 3, 2>(band, rows, w, row, to, out_stride);
          break;
        default:
          multiply_band<Factors, kNf4LeftRows, 2>(band, rows, w, row, to, out_stride);
      }
    }
  }
}

constexpr Nf4Products kTable = {
    multiply<FloatFactors>,
#if defined(__AVX512BF16__)
    multiply<Bf16Factors>,
#else
    nullptr,
#endif
};

}  // namespace

namespace LONGLORA_ISA {
const Nf4Products& nf4_products() {
  return kTable;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
