// This file is compiled once for each instruction set. LONGLORA_ISA is the namespace. The compiler may not
// change the arithmetic (CMakeLists.txt), so that sums and products are computed as they are written here.
#include "longlora/ops/cpu/nf4_kernels.h"

#include "longlora/ops/cpu/nf4_lookup.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

// What a block of zeros is divided by, as in bitsandbytes.
constexpr float kLeastScale = 1e-38f;

// Loads sixteen bytes, each into a word.
LONGLORA_INLINE U32x16 widen_bytes(const uint8_t* p) {
  typedef uint8_t Bytes __attribute__((vector_size(16)));
  Bytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(bytes, U32x16);
}

// Returns the code of the nearest of the 16 values for each lane. It is the number of middles between
// neighbouring values that are below the lane.
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
    U32x16 largest = {};  // bits of magnitudes, which have the order of the numbers
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

// Stores thirty-two neighbours, of which `even` has those at even places.
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
  const FloatValues values;
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

constexpr Nf4Kernels kTable = {quantize, scales, dequantize<float>, dequantize<Bf16>};

}  // namespace

namespace LONGLORA_ISA {
const Nf4Kernels& nf4_kernels() {
  return kTable;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
