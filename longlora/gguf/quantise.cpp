#include "longlora/gguf/quantise.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "longlora/core/error.h"

namespace longlora::gguf {
namespace {

constexpr int kBlock = 32;  // elements that share a scale

using Bytes = uint8_t*;

// The nearest number in half precision; of two that are as near the even one.
uint16_t half_of(float value) {
  constexpr uint32_t kFirstBeyond = 0x477FF000U;     // 65520, which is nearer to infinity than to 65504
  constexpr uint32_t kSmallestNormal = 0x38800000U;  // 2^-14
  constexpr uint32_t kHalf = 0x3F000000U;            // 0.5, whose last place is 2^-24
  constexpr uint32_t kExponents = 112U << 23;        // between the two formats
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000U, magnitude = bits & 0x7FFFFFFFU;
  if (magnitude >= kFirstBeyond)
    throw InputError(fmt::format(
        "[GGUF] expected weights that half precision holds (up to 65504), got {}; write them as bf16",
        value));
  if (magnitude < kSmallestNormal) {
    const float multiple = std::bit_cast<float>(magnitude) + std::bit_cast<float>(kHalf);
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(multiple) - kHalf));
  }
  const uint32_t rounded = magnitude + 0xFFFU + (magnitude >> 13 & 1U);
  return static_cast<uint16_t>(sign | (rounded - kExponents) >> 13);
}

uint16_t bfloat16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

void put(Bytes at, uint16_t number) {
  std::memcpy(at, &number, sizeof number);
}

float inverse(float scale) {
  return scale == 0.0F ? 0.0F : 1.0F / scale;
}

// A code of four bits. A scale so small that its inverse is infinite may give what is no number.
uint8_t code_of(float value) {
  if (!(value > 0.0F)) return 0;
  return value >= 15.0F ? 15 : static_cast<uint8_t>(value);
}

// The codes of the first half of a block in the lower four bits, those of the second in the upper ones.
template <typename Code>
void put_nibbles(Bytes at, const float* values, const Code& code) {
  for (int i = 0; i < kBlock / 2; ++i)
    at[i] = static_cast<uint8_t>(code(values[i]) | code(values[kBlock / 2 + i]) << 4);
}

void encode_q4_0(const float* values, Bytes block) {
  const float furthest =
      *std::max_element(values, values + kBlock, [](float a, float b) { return std::abs(a) < std::abs(b); });
  const float scale = furthest / -8.0F, factor = inverse(scale);
  put(block, half_of(scale));
  put_nibbles(block + 2, values, [&](float value) { return code_of(value * factor + 8.5F); });
}

void encode_q4_1(const float* values, Bytes block) {
  const auto [least, most] = std::minmax_element(values, values + kBlock);
  const float start = *least, scale = (*most - start) / 15.0F, factor = inverse(scale);
  put(block, half_of(scale));
  put(block + 2, half_of(start));
  put_nibbles(block + 4, values, [&](float value) { return code_of((value - start) * factor + 0.5F); });
}

void encode_q8_0(const float* values, Bytes block) {
  float furthest = 0.0F;
  for (int i = 0; i < kBlock; ++i) furthest = std::max(furthest, std::abs(values[i]));
  const float scale = furthest / 127.0F, factor = inverse(scale);
  put(block, half_of(scale));
  for (int i = 0; i < kBlock; ++i) {
    const float code = std::round(values[i] * factor);
    const bool is_code = code >= -127.0F && code <= 127.0F;
    block[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(is_code ? code : 0.0F));
  }
}

}  // namespace

void quantise(BlockType type, const float* values, int64_t num_blocks, std::byte* blocks) {
  const int64_t elements = block_elements(type);
  const auto size = static_cast<int64_t>(block_bytes(type));
  for (int64_t i = 0; i < num_blocks; ++i) {
    const float* from = values + i * elements;
    auto* to = reinterpret_cast<Bytes>(blocks + i * size);
    switch (type) {
      case BlockType::kF32:
        std::memcpy(to, from, sizeof *from);
        break;
      case BlockType::kF16:
        put(to, half_of(*from));
        break;
      case BlockType::kBF16:
        put(to, bfloat16_of(*from));
        break;
      case BlockType::kQ4_0:
        encode_q4_0(from, to);
        break;
      case BlockType::kQ4_1:
        encode_q4_1(from, to);
        break;
      case BlockType::kQ8_0:
        encode_q8_0(from, to);
        break;
      default:
        throw Error(fmt::format("[GGUF] expected a type that is written, got {}",
                                type_name(static_cast<uint32_t>(type))));
    }
  }
}

}  // namespace longlora::gguf
