#include "longlora/core/random.h"

#include <fmt/core.h>

#include <bit>
#include <numeric>
#include <utility>

#include "longlora/core/error.h"

namespace longlora {

namespace {

constexpr int kSize = 624;
constexpr int kShift = 397;

// The smallest all-ones mask that covers `value`.
uint64_t covering_mask(uint64_t value) {
  return value == 0 ? 0 : ~uint64_t{0} >> std::countl_zero(value);
}

}  // namespace

NumpyRandom::NumpyRandom(uint32_t seed) : index_(kSize) {
  // init_genrand of Matsumoto and Nishimura's mt19937ar.c (2002).
  for (int i = 0; i < kSize; ++i) {
    state_[i] = seed;
    seed = 1812433253u * (seed ^ (seed >> 30)) + static_cast<uint32_t>(i) + 1;
  }
}

uint32_t NumpyRandom::next_u32() {
  if (index_ == kSize) {
    for (int i = 0; i < kSize; ++i) {
      const uint32_t mixed = (state_[i] & 0x80000000u) | (state_[(i + 1) % kSize] & 0x7fffffffu);
      state_[i] = state_[(i + kShift) % kSize] ^ (mixed >> 1) ^ ((mixed & 1) != 0 ? 0x9908b0dfu : 0u);
    }
    index_ = 0;
  }
  uint32_t value = state_[index_++];
  value ^= value >> 11;
  value ^= (value << 7) & 0x9d2c5680u;
  value ^= (value << 15) & 0xefc60000u;
  return value ^ (value >> 18);
}

int64_t NumpyRandom::randint(int64_t low, int64_t high) {
  if (low >= high) throw Error(fmt::format("[randint] expected low < high, got {} and {}", low, high));
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) - 1;
  if (range == 0) return low;  // NumPy draws nothing here
  const uint64_t mask = covering_mask(range);
  uint64_t offset;
  do {
    offset = next_u32();
    if (range > 0xffffffffu) offset = offset << 32 | next_u32();
    offset &= mask;
  } while (offset > range);
  return static_cast<int64_t>(static_cast<uint64_t>(low) + offset);
}

std::vector<int64_t> permutation(int64_t n, uint64_t seed) {
  if (n < 0) throw Error(fmt::format("[permutation] expected n >= 0, got {}", n));
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  uint64_t counter = 0;
  for (uint64_t remaining = static_cast<uint64_t>(n); remaining > 1; --remaining) {
    // Without this the draws below 2^64 mod remaining would make the first places more likely.
    const uint64_t threshold = (0 - remaining) % remaining;
    uint64_t draw;
    do {
      draw = mix_bits(seed, counter++);
    } while (draw < threshold);
    std::swap(order[remaining - 1], order[draw % remaining]);
  }
  return order;
}

}  // namespace longlora
