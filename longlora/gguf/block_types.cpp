#include "longlora/gguf/block_types.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

namespace longlora::gguf {
namespace {

constexpr int kSuper = 256;  // elements of a block of the K types and of IQ4_XS

struct Form {
  BlockType type;
  int64_t elements;
  uint64_t bytes;
};

constexpr Form kForms[] = {
    {BlockType::kF32, 1, 4},         {BlockType::kF16, 1, 2},         {BlockType::kBF16, 1, 2},
    {BlockType::kQ4_0, 32, 18},      {BlockType::kQ4_1, 32, 20},      {BlockType::kQ5_0, 32, 22},
    {BlockType::kQ5_1, 32, 24},      {BlockType::kQ8_0, 32, 34},      {BlockType::kQ2_K, kSuper, 84},
    {BlockType::kQ3_K, kSuper, 110}, {BlockType::kQ4_K, kSuper, 144}, {BlockType::kQ5_K, kSuper, 176},
    {BlockType::kQ6_K, kSuper, 210}, {BlockType::kIQ4_NL, 32, 18},    {BlockType::kIQ4_XS, kSuper, 136},
};

constexpr const Form& form(BlockType type) {
  for (const Form& known : kForms)
    if (known.type == type) return known;
  return kForms[0];
}

// The names of all numbers that ggml gives or gave; null where it took a type back.
constexpr std::array<const char*, 41> kNames = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",    "NVFP4"};

using Bytes = const uint8_t*;

float half_at(Bytes bytes) {
  const uint32_t half = bytes[0] | uint32_t{bytes[1]} << 8;
  const uint32_t sign = (half & 0x8000U) << 16, exponent = half >> 10 & 0x1FU, fraction = half & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F800000U | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  // Below the normal numbers: a multiple of 2^-24, which float32 holds.
  const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

float scaled(float scale, int code) {
  return scale * static_cast<float>(code);
}

// The lower and the upper four bits of `count` bytes, one after the other.
template <typename Decode>
void for_nibbles(Bytes codes, int count, float* values, const Decode& decode) {
  for (int i = 0; i < count; ++i) values[i] = decode(codes[i] & 0xF, i);
  for (int i = 0; i < count; ++i) values[count + i] = decode(codes[i] >> 4, count + i);
}

constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

void decode_q4_0(Bytes block, float* values) {
  const float d = half_at(block);
  for_nibbles(block + 2, 16, values, [&](int code, int) { return scaled(d, code - 8); });
}

void decode_q4_1(Bytes block, float* values) {
  const float d = half_at(block), m = half_at(block + 2);
  for_nibbles(block + 4, 16, values, [&](int code, int) { return scaled(d, code) + m; });
}

void decode_q5_0(Bytes block, float* values) {
  const float d = half_at(block);
  const Bytes high = block + 2;
  for_nibbles(block + 6, 16, values,
              [&](int code, int i) { return scaled(d, (code | (high[i / 8] >> (i % 8) & 1) << 4) - 16); });
}

void decode_q5_1(Bytes block, float* values) {
  const float d = half_at(block), m = half_at(block + 2);
  const Bytes high = block + 4;
  for_nibbles(block + 8, 16, values,
              [&](int code, int i) { return scaled(d, code | (high[i / 8] >> (i % 8) & 1) << 4) + m; });
}

void decode_q8_0(Bytes block, float* values) {
  const float d = half_at(block);
  for (int i = 0; i < 32; ++i) values[i] = scaled(d, static_cast<int8_t>(block[2 + i]));
}

void decode_q2_k(Bytes block, float* values) {
  const Bytes scales = block, codes = block + 16;
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (int i = 0; i < kSuper; ++i) {
    const int half = i / 128, shift = i % 128 / 32 * 2, group = i / 16;
    const float scale = scaled(d, scales[group] & 0xF), minimum = scaled(dmin, scales[group] >> 4);
    values[i] = scaled(scale, codes[half * 32 + i % 32] >> shift & 3) - minimum;
  }
}

// Sixteen scales of six bits: the lower four bits in the first eight bytes, the upper two in the next four.
int q3_k_scale(Bytes scales, int group) {
  const int low = scales[group % 8] >> (group / 8 * 4) & 0xF;
  const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
  return (low | high << 4) - 32;
}

void decode_q3_k(Bytes block, float* values) {
  const Bytes high = block, codes = block + 32, scales = block + 96;
  const float d = half_at(block + 108);
  for (int i = 0; i < kSuper; ++i) {
    const int half = i / 128, shift = i % 128 / 32 * 2, bit = i / 32;
    const int low = codes[half * 32 + i % 32] >> shift & 3;
    const int code = low - ((high[i % 32] >> bit & 1) != 0 ? 0 : 4);
    values[i] = scaled(scaled(d, q3_k_scale(scales, i / 16)), code);
  }
}

struct ScaleAndMinimum {
  int scale, minimum;
};

// Eight of each, of six bits, in twelve bytes.
ScaleAndMinimum k_scale(Bytes packed, int group) {
  if (group < 4) return {packed[group] & 0x3F, packed[4 + group] & 0x3F};
  const int i = group - 4;
  return {(packed[8 + i] & 0xF) | (packed[i] >> 2 & 0x30), packed[8 + i] >> 4 | (packed[4 + i] >> 2 & 0x30)};
}

// Q4_K and Q5_K: `code` gives the code of an element.
template <typename Code>
void decode_k_groups(Bytes block, float* values, const Code& code) {
  const float d = half_at(block), dmin = half_at(block + 2);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum packed = k_scale(block + 4, group);
    const float scale = scaled(d, packed.scale), minimum = scaled(dmin, packed.minimum);
    for (int i = 0; i < 32; ++i) values[group * 32 + i] = scaled(scale, code(group, i)) - minimum;
  }
}

void decode_q4_k(Bytes block, float* values) {
  const Bytes codes = block + 16;
  decode_k_groups(block, values,
                  [&](int group, int i) { return codes[group / 2 * 32 + i] >> (group % 2 * 4) & 0xF; });
}

void decode_q5_k(Bytes block, float* values) {
  const Bytes high = block + 16, codes = block + 48;
  decode_k_groups(block, values, [&](int group, int i) {
    return (codes[group / 2 * 32 + i] >> (group % 2 * 4) & 0xF) | (high[i] >> group & 1) << 4;
  });
}

void decode_q6_k(Bytes block, float* values) {
  const Bytes low = block, high = block + 128, scales = block + 192;
  const float d = half_at(block + 208);
  for (int i = 0; i < kSuper; ++i) {
    const int half = i / 128, within = i % 128;
    const int low_bits = low[half * 64 + within % 64] >> (within / 64 * 4) & 0xF;
    const int high_bits = high[half * 32 + within % 32] >> (within / 32 * 2) & 3;
    values[i] = scaled(scaled(d, static_cast<int8_t>(scales[i / 16])), (low_bits | high_bits << 4) - 32);
  }
}

void decode_iq4_nl(Bytes block, float* values) {
  const float d = half_at(block);
  for_nibbles(block + 2, 16, values, [&](int code, int) { return scaled(d, kIq4Values[code]); });
}

void decode_iq4_xs(Bytes block, float* values) {
  const float d = half_at(block);
  const int high = block[2] | block[3] << 8;
  const Bytes low = block + 4, codes = block + 8;
  for (int group = 0; group < 8; ++group) {
    const int scale = (low[group / 2] >> (group % 2 * 4) & 0xF) | (high >> (2 * group) & 3) << 4;
    const float group_scale = scaled(d, scale - 32);
    for_nibbles(codes + group * 16, 16, values + group * 32,
                [&](int code, int) { return scaled(group_scale, kIq4Values[code]); });
  }
}

using Decode = void (*)(Bytes block, float* values);

Decode decoder_of(BlockType type) {
  switch (type) {
    case BlockType::kQ4_0:
      return decode_q4_0;
    case BlockType::kQ4_1:
      return decode_q4_1;
    case BlockType::kQ5_0:
      return decode_q5_0;
    case BlockType::kQ5_1:
      return decode_q5_1;
    case BlockType::kQ8_0:
      return decode_q8_0;
    case BlockType::kQ2_K:
      return decode_q2_k;
    case BlockType::kQ3_K:
      return decode_q3_k;
    case BlockType::kQ4_K:
      return decode_q4_k;
    case BlockType::kQ5_K:
      return decode_q5_k;
    case BlockType::kQ6_K:
      return decode_q6_k;
    case BlockType::kIQ4_NL:
      return decode_iq4_nl;
    case BlockType::kIQ4_XS:
      return decode_iq4_xs;
    case BlockType::kF16:
      return [](Bytes block, float* values) { *values = half_at(block); };
    case BlockType::kBF16:
      return [](Bytes block, float* values) {
        *values = std::bit_cast<float>(uint32_t{block[0]} << 16 | uint32_t{block[1]} << 24);
      };
    default:
      return [](Bytes block, float* values) { std::memcpy(values, block, sizeof *values); };
  }
}

}  // namespace

std::string type_name(uint32_t type) {
  return type < kNames.size() ? kNames[type] : fmt::format("type {}", type);
}

std::optional<BlockType> block_type(uint32_t type) {
  for (const Form& known : kForms)
    if (static_cast<uint32_t>(known.type) == type) return known.type;
  return std::nullopt;
}

std::string readable_types() {
  std::string names;
  for (const Form& known : kForms)
    names += (names.empty() ? "" : ", ") + type_name(static_cast<uint32_t>(known.type));
  return names;
}

int64_t block_elements(BlockType type) {
  return form(type).elements;
}

uint64_t block_bytes(BlockType type) {
  return form(type).bytes;
}

bool is_quantised(BlockType type) {
  return block_elements(type) > 1;
}

void dequantise(BlockType type, const std::byte* blocks, int64_t num_blocks, float* values) {
  const Decode decode = decoder_of(type);
  const uint64_t bytes = block_bytes(type);
  const int64_t elements = block_elements(type);
  const auto* block = reinterpret_cast<const uint8_t*>(blocks);
  for (int64_t i = 0; i < num_blocks; ++i, block += bytes, values += elements) decode(block, values);
}

}  // namespace longlora::gguf
