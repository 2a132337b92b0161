// This file is compiled once for each instruction set. LONGLORA_ISA is the namespace. The compiler may not
// change the arithmetic (CMakeLists.txt), so that the order of a sum is the same for any number of rows.
#include "longlora/ops/cpu/nf4_products.h"

#include "longlora/ops/cpu/nf4_lookup.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

// How many groups of one row of x fit into a first-level cache with codes and scales.
constexpr int64_t kChunkGroups = 64;
// How many bytes ahead of a product codes are read.
constexpr int64_t kBytesAhead = 8192;

static_assert(kNf4Group == kLanes * kNf4Neighbours, "a lane has neighbours that share a scale");

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

// Where the scales of some elements of some rows lie. They begin at element `begin` of the rows from `row`
// on.
struct ScalePart {
  int64_t row, num_rows, begin, count;
};

// The scales of a band's groups, in two forms. LaneScales have one for each lane of each group.
struct LaneScales {
  static constexpr int64_t kPerGroup = kLanes;
  // The distance between two rows: the lanes of a chunk, and room for what spread_scales() writes beyond.
  static constexpr int64_t apart(int64_t most_groups, const ScalePart&) { return (most_groups + 1) * kLanes; }
  static LONGLORA_INLINE F32x16 load(const float* p) { return load_16(p); }
  static void fill(const Nf4RightRows& w, const ScalePart& part, int64_t apart, float* out) {
    for (int64_t r = 0; r < part.num_rows; ++r, out += apart) {
      if (part.count % kNf4Group != 0) store_16(out + part.count / kNf4Group * kLanes, F32x16{});
      const int64_t first = (part.row + r) * w.columns + part.begin;
      spread_scales(w.scales, first / kNf4Neighbours, part.count / kNf4Neighbours, out);
    }
  }
};

// BlockScales have one for each block. They are for the usual blocks of 64 elements, where these begin with a
// row. The last group may have a block and a half-empty one, whose scale is any number.
struct BlockScales {
  static constexpr int64_t kBlock = 64, kPerGroup = kNf4Group / kBlock;
  static bool takes(const Nf4RightRows& w) {
    return w.scales.block_size == kBlock && w.columns % kBlock == 0;
  }
  static constexpr int64_t apart(int64_t, const ScalePart& part) { return part.count / kBlock; }
  static LONGLORA_INLINE F32x16 load(const float* p) {
#if defined(__AVX512F__)
    return _mm512_mask_broadcastss_ps(_mm512_set1_ps(p[0]), 0xff00, _mm_load_ss(p + 1));
#else
    const F32x8 halves[2] = {eight(p[0]), eight(p[1])};
    F32x16 scale;
    std::memcpy(&scale, halves, sizeof scale);
    return scale;
#endif
  }
  static void fill(const Nf4RightRows& w, const ScalePart& part, int64_t apart, float* out) {
    out[part.num_rows * apart] = 0.0f;
    // The blocks of whole rows follow each other.
    const bool is_whole = part.count == w.columns;
    for (int64_t r = 0; r < (is_whole ? 1 : part.num_rows); ++r)
      fill_blocks(w.scales, ((part.row + r) * w.columns + part.begin) / kBlock,
                  is_whole ? part.num_rows * apart : apart, out + r * apart);
  }

 private:
  static LONGLORA_INLINE void fill_blocks(const Nf4Scales& scales, int64_t block, int64_t count, float* out) {
    if (scales.codes == nullptr) {
      std::memcpy(out, scales.absmax + block, static_cast<size_t>(count) * sizeof(float));
      return;
    }
    for (const int64_t end = block + count; block < end;) {  // blocks with the same nested scale
      const int64_t nested = block / scales.nested_block_size;
      const int64_t last = (nested + 1) * scales.nested_block_size, until = last < end ? last : end;
      const float factor = scales.nested[nested];
      for (; block < until; ++block) *out++ = scales.map[scales.codes[block]] * factor + scales.offset;
    }
  }
};

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
template <typename Factors, typename Scales, int NumLeft, int NumRight>
struct Tile {
  using Element = typename Factors::Element;
  static constexpr int64_t kCodes = kNf4CodesPerWord<Element>, kWords = kNf4Group / kCodes;
  static constexpr int64_t kGroups = kChunkGroups / NumLeft;

  F32x16 totals[NumRight][NumLeft];

  // Adds the products of a group. load(r) returns its codes in row r of w.
  template <typename Load>
  LONGLORA_INLINE void add_group(const Element* x, const float* scales, int64_t scales_apart,
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
      const F32x16 scale = Scales::load(scales + r * scales_apart);
      for (int m = 0; m < NumLeft; ++m) totals[r][m] = fused_add(sums[r][m], scale, totals[r][m]);
    }
  }

  // Adds the products of elements [begin, begin + count) of w's rows from `row` on. x and the scales begin at
  // the same element.
  static void add_chunk(const Element* x, const Nf4RightRows& w, int64_t row, int64_t begin, int64_t count,
                        const float* scale, int64_t apart, F32x16* sums) {
    const int64_t whole = count / kNf4Group, rest = count % kNf4Group, row_bytes = w.columns / 2;
    const typename Factors::Values values;
    Tile tile;
    for (int r = 0; r < NumRight; ++r)
      for (int m = 0; m < NumLeft; ++m) tile.totals[r][m] = sums[r * NumLeft + m];
    const uint8_t* const first_codes = w.codes + (row * w.columns + begin) / 2;
    const uint8_t* codes = first_codes;
    for (int64_t g = 0; g < whole; ++g) {
      // The rows follow each other, and are read ahead in the order of memory. The processor does not read
      // past the ends of short rows by itself.
      for (int r = 0; r < NumRight; ++r)
        __builtin_prefetch(first_codes + kBytesAhead + (g * NumRight + r) * (kNf4Group / 2));
      tile.add_group(x, scale, apart, values, [=](int r) { return load_codes(codes + r * row_bytes); });
      x += kNf4Group * NumLeft;
      scale += Scales::kPerGroup;
      codes += kNf4Group / 2;
    }
    if (rest != 0)
      tile.add_group(x, scale, apart, values, [=](int r) { return load_codes(codes + r * row_bytes, rest); });
    for (int r = 0; r < NumRight; ++r)
      for (int m = 0; m < NumLeft; ++m) sums[r * NumLeft + m] = tile.totals[r][m];
  }
};

// Multiplies NumLeft rows of x with a band of n rows of w from `row` on.
template <typename Factors, typename Scales, int NumLeft, int NumRight>
void multiply_band(int64_t n, const typename Factors::Element* x, const Nf4RightRows& w, int64_t row,
                   float* out, int64_t out_stride) {
  F32x16 sums[kNf4Band * NumLeft] = {};
  constexpr int64_t kGroups = Tile<Factors, Scales, NumLeft, NumRight>::kGroups, kChunk = kGroups * kNf4Group;
  alignas(64) float scales[kNf4Band * (kGroups + 1) * Scales::kPerGroup];
  for (int64_t begin = 0; begin < w.columns; begin += kChunk) {
    const int64_t left = w.columns - begin, count = left < kChunk ? left : kChunk;
    const ScalePart scale_part = {row, n, begin, count};
    const int64_t apart = Scales::apart(kGroups, scale_part);
    Scales::fill(w, scale_part, apart, scales);
    const auto* const part = x + begin * NumLeft;
    int64_t r = 0;
    for (; r + NumRight <= n; r += NumRight)
      Tile<Factors, Scales, NumLeft, NumRight>::add_chunk(part, w, row + r, begin, count, scales + r * apart,
                                                          apart, sums + r * NumLeft);
    for (; r < n; ++r)
      Tile<Factors, Scales, NumLeft, 1>::add_chunk(part, w, row + r, begin, count, scales + r * apart, apart,
                                                   sums + r * NumLeft);
  }
  float made[kNf4Band * NumLeft];
  for (int64_t i = 0; i < n * NumLeft; i += 4) store_sums_of_lanes(sums + i, made + i);
  for (int64_t r = 0; r < n; ++r)
    for (int m = 0; m < NumLeft; ++m)
      out[m * out_stride + r] = made[r * NumLeft + m] * (1.0f / Factors::kFactor);
}

template <typename Factors, typename Scales>
void multiply_with(int64_t m, int64_t n, const typename Factors::Element* x, const Nf4RightRows& w,
                   float* out, int64_t out_stride) {
  const int64_t width = nf4_width(w.columns);
  for (int64_t r = 0; r < n; r += kNf4Band) {
    const int64_t band = n - r < kNf4Band ? n - r : kNf4Band, row = w.first_row + r;
    for (int64_t i = 0; i < m; i += kNf4LeftRows) {
      const auto* const rows = x + i * width;
      float* const to = out + i * out_stride + r;
      switch (m - i) {
        case 1:
          multiply_band<Factors, Scales, 1, 4>(band, rows, w, row, to, out_stride);
          break;
        case 2:
          multiply_band<Factors, Scales, 2, 4>(band, rows, w, row, to, out_stride);
          break;
        case 3:
          multiply_band<Factors, Scales, 3, 2>(band, rows, w, row, to, out_stride);
          break;
        default:
          multiply_band<Factors, Scales, kNf4LeftRows, 2>(band, rows, w, row, to, out_stride);
      }
    }
  }
}

template <typename Factors>
void multiply(int64_t m, int64_t n, const typename Factors::Element* x, const Nf4RightRows& w, float* out,
              int64_t out_stride) {
  if (BlockScales::takes(w))
    multiply_with<Factors, BlockScales>(m, n, x, w, out, out_stride);
  else
    multiply_with<Factors, LaneScales>(m, n, x, w, out, out_stride);
}

// Puts a group into the order of codes. The vectors of each code are `apart` elements apart.
template <typename T>
LONGLORA_INLINE void order_group(const float* x, T* out, int64_t apart) {
  constexpr int64_t kCodes = kNf4CodesPerWord<T>, kWords = kNf4Group / kCodes;
  for (int64_t n = 0; n < kCodes; ++n)
    for (int64_t word = 0; word < kWords; ++word)
      store_one(out + n * apart + word, x[kCodes * word + (n ^ 1)]);
}

#if defined(__AVX512BF16__)
LONGLORA_INLINE void order_group(const float* x, Bf16* out, int64_t apart) {
  // Each pair of vectors has 16 words of all four codes. For codes 0 and 1, then 2 and 3, these are taken out
  // of both pairs, and the halves that belong together are joined.
  static constexpr auto kIndices = [] {
    struct Indices {
      alignas(64) uint16_t of[2][32];
    } indices = {};
    for (int p = 0; p < 2; ++p)
      for (int l = 0; l < 32; ++l)
        indices.of[p][l] = static_cast<uint16_t>(4 * (l % 16) + ((2 * p + l / 16) ^ 1));
    return indices;
  }();
  __m512i rounded[4];
  for (int i = 0; i < 4; ++i)
    rounded[i] =
        reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(load_16(x + 32 * i + kLanes), load_16(x + 32 * i)));
  for (int p = 0; p < 2; ++p) {
    const __m512i index = _mm512_load_si512(kIndices.of[p]);
    const __m512i first = _mm512_permutex2var_epi16(rounded[0], index, rounded[1]);
    const __m512i second = _mm512_permutex2var_epi16(rounded[2], index, rounded[3]);
    _mm512_storeu_si512(out + 2 * p * apart, _mm512_shuffle_i64x2(first, second, 0x44));
    _mm512_storeu_si512(out + (2 * p + 1) * apart, _mm512_shuffle_i64x2(first, second, 0xee));
  }
}
#endif

template <typename T>
void order(int64_t m, int64_t columns, const float* x, int64_t x_stride, T* out) {
  constexpr int64_t kWords = kNf4Group / kNf4CodesPerWord<T>;
  const int64_t width = nf4_width(columns);
  for (int64_t first = 0; first < m; first += kNf4LeftRows) {
    const int64_t together = m - first < kNf4LeftRows ? m - first : kNf4LeftRows;
    for (int64_t r = 0; r < together; ++r)
      for (int64_t i = 0; i < width; i += kNf4Group) {
        const float* group = x + (first + r) * x_stride + i;
        float part[kNf4Group];
        if (i + kNf4Group > columns) {
          std::memset(part, 0, sizeof part);
          std::memcpy(part, group, static_cast<size_t>(columns - i) * sizeof(float));
          group = part;
        }
        order_group(group, out + first * width + i * together + r * kWords, together * kWords);
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
    order<float>,
    order<Bf16>,
};

}  // namespace

namespace LONGLORA_ISA {
const Nf4Products& nf4_products() {
  return kTable;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
