// This file is compiled once for each instruction set. LONGLORA_ISA is the namespace. The compiler may not
// change the arithmetic (CMakeLists.txt), so that a head's sums are the same whatever heads are with it.
#include "longlora/ops/cpu/step_attention.h"

#include <type_traits>

#include "longlora/ops/cpu/page_layout.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

// How many query heads and how many tokens are computed together.
constexpr int kHeads = 4, kTokens = 4;
// Below every score.
constexpr float kNoMaximum = -3.0e38f;

// The keys or the values of a head in a page, as rows of numbers.
template <typename T>
struct DenseRows {
  const T* numbers;
  int64_t width;

  DenseRows(const std::byte* data, int64_t head_dim)
      : numbers(reinterpret_cast<const T*>(data)), width(head_dim) {}
  template <typename Place>
  LONGLORA_INLINE F32x16 load(int64_t token, const Place& at) const {
    return at.load(numbers + token * width);
  }
  LONGLORA_INLINE void prefetch(int64_t token) const {
    const auto* const row = reinterpret_cast<const char*>(numbers + token * width);
    for (int64_t i = 0; i < width * static_cast<int64_t>(sizeof(T)); i += 64) __builtin_prefetch(row + i);
  }
};

LONGLORA_INLINE float half_to_float(uint16_t bits) {
  // The exponent is moved to its place and gets its new bias by a multiplication, which is exact for
  // subnormal numbers, too. Scales are finite and not negative.
  const uint32_t moved = static_cast<uint32_t>(bits) << 13;
  float value;
  std::memcpy(&value, &moved, sizeof value);
  return value * 0x1p112f;
}

// As DenseRows, for numbers in 8 or 4 bits with scales.
template <PageFormat Format>
struct ScaledRows {
  static constexpr int64_t kMostScales = 16;  // of a token, which are widened once for all heads

  const uint8_t* numbers;
  const uint16_t* scales;
  int64_t width;
  float widened_scales[kPageTokens * kMostScales];

  ScaledRows(const std::byte* data, int64_t head_dim)
      : numbers(reinterpret_cast<const uint8_t*>(data)),
        scales(reinterpret_cast<const uint16_t*>(data + kPageTokens * page_number_bytes(Format, head_dim))),
        width(head_dim) {
    const int64_t count = page_scales(Format, width);
    for (int64_t i = 0; count <= kMostScales && i < kPageTokens * count; ++i)
      widened_scales[i] = half_to_float(scales[i]);
  }
  template <typename Place>
  LONGLORA_INLINE F32x16 load(int64_t token, const Place& at) const {
    const int64_t count = page_scales(Format, width), place = token * count + at.begin / kScaleDims;
    const float scale = count <= kMostScales ? widened_scales[place] : half_to_float(scales[place]);
    const uint8_t* const row = numbers + token * page_number_bytes(Format, width);
    return __builtin_convertvector(codes(row, at), F32x16) * scale;
  }
  LONGLORA_INLINE void prefetch(int64_t token) const {
    const uint8_t* const row = numbers + token * page_number_bytes(Format, width);
    for (int64_t i = 0; i < page_number_bytes(Format, width); i += 64) __builtin_prefetch(row + i);
    __builtin_prefetch(scales + token * page_scales(Format, width));
  }

 private:
  typedef int8_t Bytes __attribute__((vector_size(16)));

  // Returns the codes of sixteen dimensions, or of the fewer that are left and zeros.
  static LONGLORA_INLINE I32x16 codes(const uint8_t* row, const Whole& at) {
    return codes_of(row, at.begin, std::integral_constant<int64_t, kLanes>{});
  }
  static LONGLORA_INLINE I32x16 codes(const uint8_t* row, const Rest& at) {
    const I32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const I32x16 found = codes_of(row, at.begin, at.count);
    return lane < static_cast<int32_t>(at.count) ? found : I32x16{};
  }
  template <typename Count>
  static LONGLORA_INLINE I32x16 codes_of(const uint8_t* row, int64_t begin, Count count) {
    Bytes bytes = {};
    if constexpr (Format == PageFormat::kInt8) {
      std::memcpy(&bytes, row + begin, static_cast<size_t>(count));
      return widened(bytes);
    } else {
      // The lower and the upper four bits of eight bytes take turns.
      uint64_t pairs = 0;
      std::memcpy(&pairs, row + begin / 2, static_cast<size_t>((count + 1) / 2));
      const uint64_t low = pairs & 0x0f0f0f0f0f0f0f0fu, high = pairs >> 4 & 0x0f0f0f0f0f0f0f0fu;
#if defined(__AVX2__)
      const __m128i mixed = _mm_unpacklo_epi8(_mm_cvtsi64_si128(static_cast<int64_t>(low)),
                                              _mm_cvtsi64_si128(static_cast<int64_t>(high)));
      std::memcpy(&bytes, &mixed, sizeof bytes);
#else
      for (int i = 0; i < 8; ++i) {
        bytes[2 * i] = static_cast<int8_t>(low >> 8 * i);
        bytes[2 * i + 1] = static_cast<int8_t>(high >> 8 * i);
      }
#endif
      return widened(bytes) - 8;
    }
  }
  static LONGLORA_INLINE I32x16 widened(Bytes bytes) {
#if defined(__AVX512F__)
    return reinterpret_cast<I32x16>(_mm512_cvtepi8_epi32(reinterpret_cast<__m128i>(bytes)));
#elif defined(__AVX2__)
    const __m128i all = reinterpret_cast<__m128i>(bytes);
    const __m256i halves[2] = {_mm256_cvtepi8_epi32(all), _mm256_cvtepi8_epi32(_mm_srli_si128(all, 8))};
    I32x16 words;
    std::memcpy(&words, halves, sizeof words);
    return words;
#else
    return __builtin_convertvector(bytes, I32x16);
#endif
  }
};

// Where the sums of some queries are.
struct Sums {
  float *output, *maximum, *sum;
};

// What is read after this page: keys, which are read ahead while values are multiplied; null: nothing.
struct Next {
  const std::byte* keys;
  int64_t token_bytes;

  LONGLORA_INLINE void prefetch(int64_t token) const {
    if (keys == nullptr) return;
    for (int64_t i = 0; i < token_bytes; i += 64) __builtin_prefetch(keys + token * token_bytes + i);
  }
};

// Writes the scores of `Heads` queries with tokens [first, last) of a page.
template <int Heads, typename Rows>
LONGLORA_INLINE void find_scores(const Rows& keys, const Rows& values, int64_t first, int64_t last,
                                 int64_t head_dim, const float* queries, float (*scores)[kPageTokens]) {
  for (int64_t token = first; token < last; token += kTokens) {
    F32x16 sums[Heads][kTokens] = {};
    // Beyond the last token there is the last token again.
    int64_t tokens[kTokens];
    for (int i = 0; i < kTokens; ++i) tokens[i] = token + i < last ? token + i : last - 1;
    for (int i = 0; i < kTokens; ++i) values.prefetch(tokens[i]);
    for_each_vector(head_dim, [&](const auto& at) {
      F32x16 key[kTokens];
      for (int i = 0; i < kTokens; ++i) key[i] = keys.load(tokens[i], at);
      for (int h = 0; h < Heads; ++h) {
        const F32x16 query = at.load(queries + h * head_dim);
        for (int i = 0; i < kTokens; ++i) sums[h][i] = fused_add(query, key[i], sums[h][i]);
      }
    });
    for (int h = 0; h < Heads; ++h) {
      float made[kTokens];
      store_sums_of_lanes(sums[h], made);
      for (int64_t i = 0; i < kTokens && token + i < last; ++i) scores[h][token + i] = made[i];
    }
  }
}

// Makes weights 2^(score − maximum) of the scores of one query, and returns the factor by which what was
// summed before is multiplied. It is not inlined: g++ 12 believes that its loops could leave an array of
// known size.
__attribute__((noinline)) float find_weights(float* scores, int64_t count, float& maximum, float& sum) {
  const float before = maximum, largest = largest_of(scores, count);
  maximum = largest > before ? largest : before;
  for_each_vector(count,
                  [&](const auto& at) { at.store(scores, exp2_of(at.load(scores, kNoMaximum) - maximum)); });
  const float factor = exp2_of(broadcast(before - maximum))[0];
  sum = sum * factor + sum_over(count, [&](const auto& at) { return at.load(scores); });
  return factor;
}

// Adds weight · value to the sums of `Heads` queries, in `Vectors` vectors of dimensions from `at` on.
template <int Heads, int Vectors, typename Rows, typename Place>
LONGLORA_INLINE void add_values(const Rows& values, int64_t first, int64_t last, int64_t head_dim,
                                const Place& place, const float (*weights)[kPageTokens], const float* factors,
                                const Next& next, float* out) {
  const auto at = [&](int v) {
    Place moved = place;
    moved.begin += v * kLanes;
    return moved;
  };
  F32x16 sums[Heads][Vectors];
  for (int h = 0; h < Heads; ++h)
    for (int v = 0; v < Vectors; ++v) sums[h][v] = at(v).load(out + h * head_dim) * factors[h];
  for (int64_t token = first; token < last; ++token) {
    if (place.begin == 0) next.prefetch(token);
    F32x16 value[Vectors];
    for (int v = 0; v < Vectors; ++v) value[v] = values.load(token, at(v));
    for (int h = 0; h < Heads; ++h) {
      const F32x16 weight = broadcast(weights[h][token]);
      for (int v = 0; v < Vectors; ++v) sums[h][v] = fused_add(weight, value[v], sums[h][v]);
    }
  }
  for (int h = 0; h < Heads; ++h)
    for (int v = 0; v < Vectors; ++v) at(v).store(out + h * head_dim, sums[h][v]);
}

#if defined(__AVX512F__)
// Heads of bfloat16 whose size is a multiple of 32 are read in whole vectors of 32 numbers, of which those at
// even and those at odd places become floats by themselves, with one operation each. Queries and sums have
// the same order: in each 32 dimensions the even ones come first.
constexpr int64_t kPairDims = 2 * kLanes, kMostPairDims = 256;

struct Pairs {
  F32x16 even, odd;

  static LONGLORA_INLINE Pairs of(const Bf16* p) {
    U32x16 words;
    std::memcpy(&words, p, sizeof words);
    return {from_bits(words << 16), from_bits(words & 0xffff0000u)};
  }
  static LONGLORA_INLINE Pairs load(const float* p) {  // in their own order
    const U32x16 even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
    const __m512 first = load_16(p), second = load_16(p + kLanes);
    return {_mm512_permutex2var_ps(first, reinterpret_cast<__m512i>(even), second),
            _mm512_permutex2var_ps(first, reinterpret_cast<__m512i>(even + 1), second)};
  }
  LONGLORA_INLINE void store(float* p) const {
    const U32x16 low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    store_16(p, _mm512_permutex2var_ps(even, reinterpret_cast<__m512i>(low), odd));
    store_16(p + kLanes, _mm512_permutex2var_ps(even, reinterpret_cast<__m512i>(low + 8), odd));
  }
};

template <int Heads>
LONGLORA_INLINE void find_pair_scores(const DenseRows<Bf16>& keys, const DenseRows<Bf16>& values,
                                      int64_t first, int64_t last, int64_t head_dim, const float* queries,
                                      float (*scores)[kPageTokens]) {
  alignas(64) float ordered[Heads][kMostPairDims];
  for (int h = 0; h < Heads; ++h)
    for (int64_t d = 0; d < head_dim; d += kPairDims) {
      const Pairs pairs = Pairs::load(queries + h * head_dim + d);
      store_16(ordered[h] + d, pairs.even);
      store_16(ordered[h] + d + kLanes, pairs.odd);
    }
  for (int64_t token = first; token < last; token += kTokens) {
    F32x16 sums[Heads][kTokens] = {};
    const Bf16* rows[kTokens];
    for (int i = 0; i < kTokens; ++i) {
      const int64_t of_row = token + i < last ? token + i : last - 1;
      rows[i] = keys.numbers + of_row * head_dim;
      values.prefetch(of_row);
    }
    for (int64_t d = 0; d < head_dim; d += kPairDims) {
      Pairs key[kTokens];
      for (int i = 0; i < kTokens; ++i) key[i] = Pairs::of(rows[i] + d);
      for (int h = 0; h < Heads; ++h) {
        const F32x16 even = load_16(ordered[h] + d), odd = load_16(ordered[h] + d + kLanes);
        for (int i = 0; i < kTokens; ++i) sums[h][i] = fused_add(even, key[i].even, sums[h][i]);
        for (int i = 0; i < kTokens; ++i) sums[h][i] = fused_add(odd, key[i].odd, sums[h][i]);
      }
    }
    for (int h = 0; h < Heads; ++h) {
      float made[kTokens];
      store_sums_of_lanes(sums[h], made);
      for (int64_t i = 0; i < kTokens && token + i < last; ++i) scores[h][token + i] = made[i];
    }
  }
}

// As add_values, for Vectors times 32 dimensions from `begin` on.
template <int Heads, int Vectors>
LONGLORA_INLINE void add_pair_values(const DenseRows<Bf16>& values, int64_t first, int64_t last,
                                     int64_t head_dim, int64_t begin, const float (*weights)[kPageTokens],
                                     const float* factors, const Next& next, float* out) {
  Pairs sums[Heads][Vectors];
  for (int h = 0; h < Heads; ++h)
    for (int v = 0; v < Vectors; ++v) {
      sums[h][v] = Pairs::load(out + h * head_dim + begin + v * kPairDims);
      sums[h][v].even *= factors[h];
      sums[h][v].odd *= factors[h];
    }
  for (int64_t token = first; token < last; ++token) {
    if (begin == 0) next.prefetch(token);
    const Bf16* const row = values.numbers + token * head_dim + begin;
    Pairs value[Vectors];
    for (int v = 0; v < Vectors; ++v) value[v] = Pairs::of(row + v * kPairDims);
    for (int h = 0; h < Heads; ++h) {
      const F32x16 weight = broadcast(weights[h][token]);
      for (int v = 0; v < Vectors; ++v) {
        sums[h][v].even = fused_add(weight, value[v].even, sums[h][v].even);
        sums[h][v].odd = fused_add(weight, value[v].odd, sums[h][v].odd);
      }
    }
  }
  for (int h = 0; h < Heads; ++h)
    for (int v = 0; v < Vectors; ++v) sums[h][v].store(out + h * head_dim + begin + v * kPairDims);
}
#endif

// Adds tokens [first, last) of a page to the sums of `Heads` queries.
template <int Heads, typename Rows>
void attend_page(const Rows& keys, const Rows& values, int64_t first, int64_t last, int64_t head_dim,
                 const float* queries, const Next& next, const Sums& sums) {
  alignas(64) float scores[Heads][kPageTokens];
  float factors[Heads];
  const auto find_all_weights = [&] {
    for (int h = 0; h < Heads; ++h)
      factors[h] = find_weights(scores[h] + first, last - first, sums.maximum[h], sums.sum[h]);
  };
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<Rows, DenseRows<Bf16>>)
    if (head_dim % kPairDims == 0 && head_dim <= kMostPairDims) {
      find_pair_scores<Heads>(keys, values, first, last, head_dim, queries, scores);
      find_all_weights();
      int64_t begin = 0;
      for (; begin + 2 * kPairDims <= head_dim; begin += 2 * kPairDims)
        add_pair_values<Heads, 2>(values, first, last, head_dim, begin, scores, factors, next, sums.output);
      if (begin < head_dim)
        add_pair_values<Heads, 1>(values, first, last, head_dim, begin, scores, factors, next, sums.output);
      return;
    }
#endif
  find_scores<Heads>(keys, values, first, last, head_dim, queries, scores);
  find_all_weights();
  constexpr int kVectors = 4;
  int64_t d = 0;
  for (; d + kVectors * kLanes <= head_dim; d += kVectors * kLanes)
    add_values<Heads, kVectors>(values, first, last, head_dim, Whole{d}, scores, factors, next, sums.output);
  for (; d + kLanes <= head_dim; d += kLanes)
    add_values<Heads, 1>(values, first, last, head_dim, Whole{d}, scores, factors, next, sums.output);
  if (d < head_dim)
    add_values<Heads, 1>(values, first, last, head_dim, Rest{d, head_dim - d}, scores, factors, next,
                         sums.output);
}

template <typename Rows>
void attend_heads(const PageView& page, const StepKeys& keys, int64_t first, int64_t last,
                  const float* queries, int64_t group, float* part) {
  const int64_t head_dim = keys.shape.head_dim;
  const auto place_in = [&](const PageView& of) {
    return of.data + page_head_place(keys.shape, of.format, keys.layer, keys.kv_head);
  };
  const std::byte* const place = place_in(page);
  const PageView* const following = &page + 1;
  const bool has_next = (following - keys.pages) * kPageTokens < keys.last_token;
  const std::byte* const next_keys = has_next ? place_in(*following) : nullptr;
  const Rows key_rows(place, head_dim);
  const Rows value_rows(place + page_head_bytes(page.format, head_dim), head_dim);
  for (int64_t h = 0; h < group; h += kHeads) {
    const Next next = {h == 0 ? next_keys : nullptr, page_number_bytes(page.format, head_dim)};
    const float* const of_heads = queries + h * head_dim;
    const Sums sums = {part + h * head_dim, part + group * head_dim + h, part + group * (head_dim + 1) + h};
    switch (group - h) {
      case 1:
        attend_page<1>(key_rows, value_rows, first, last, head_dim, of_heads, next, sums);
        break;
      case 2:
        attend_page<2>(key_rows, value_rows, first, last, head_dim, of_heads, next, sums);
        break;
      case 3:
        attend_page<3>(key_rows, value_rows, first, last, head_dim, of_heads, next, sums);
        break;
      default:
        attend_page<kHeads>(key_rows, value_rows, first, last, head_dim, of_heads, next, sums);
    }
  }
}

void attend(const StepKeys& keys, const float* queries, int64_t group, float* part) {
  const int64_t head_dim = keys.shape.head_dim;
  for (int64_t i = 0; i < group * head_dim; ++i) part[i] = 0.0f;
  for (int64_t h = 0; h < group; ++h) {
    part[group * head_dim + h] = kNoMaximum;
    part[group * (head_dim + 1) + h] = 0.0f;
  }
  for (int64_t token = keys.first_token; token < keys.last_token;) {
    const int64_t index = token / kPageTokens, first = token % kPageTokens;
    const int64_t left = keys.last_token - index * kPageTokens,
                  last = left < kPageTokens ? left : kPageTokens;
    const PageView& page = keys.pages[index];
    switch (page.format) {
      case PageFormat::kFloat:
        attend_heads<DenseRows<float>>(page, keys, first, last, queries, group, part);
        break;
      case PageFormat::kBFloat16:
        attend_heads<DenseRows<Bf16>>(page, keys, first, last, queries, group, part);
        break;
      case PageFormat::kInt8:
        attend_heads<ScaledRows<PageFormat::kInt8>>(page, keys, first, last, queries, group, part);
        break;
      default:
        attend_heads<ScaledRows<PageFormat::kInt4>>(page, keys, first, last, queries, group, part);
    }
    token += last - first;
  }
}

void merge(const float* parts, int64_t num_parts, int64_t group, int64_t head_dim, float* out) {
  const int64_t size = step_part_size(group, head_dim);
  for (int64_t h = 0; h < group; ++h) {
    const float* const maxima = parts + group * head_dim + h;
    const float* const sums = maxima + group;
    float maximum = kNoMaximum, sum = 0.0f;
    for (int64_t p = 0; p < num_parts; ++p) {
      const float of_part = maxima[p * size];
      maximum = of_part > maximum ? of_part : maximum;
    }
    float* const row = out + h * head_dim;
    for (int64_t d = 0; d < head_dim; ++d) row[d] = 0.0f;
    for (int64_t p = 0; p < num_parts; ++p) {
      const float factor = exp2_of(broadcast(maxima[p * size] - maximum))[0];
      const float* const output = parts + p * size + h * head_dim;
      sum += factor * sums[p * size];
      for_each_vector(head_dim,
                      [&](const auto& at) { at.store(row, at.load(row) + factor * at.load(output)); });
    }
    const float inverse = 1.0f / sum;
    for (int64_t d = 0; d < head_dim; ++d) row[d] *= inverse;
  }
}

constexpr StepAttention kTable = {attend, merge};

}  // namespace

namespace LONGLORA_ISA {
const StepAttention& step_attention() {
  return kTable;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
