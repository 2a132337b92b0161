// Random numbers whose sequence is part of the program's contract.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace longlora {

/// NumPy's legacy generator (numpy.random.seed / randint): MT19937 seeded by
/// init_genrand; bounded draws by mask and rejection on 32-bit outputs.
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed);
  uint32_t next_u32();
  /// numpy.random.randint(low, high): low <= result < high. Requires low < high.
  int64_t randint(int64_t low, int64_t high);

 private:
  std::array<uint32_t, 624> state_;
  int index_;
};

/// Stateless mixing of a seed and a counter into 64 uniform bits: output number `counter` of SplitMix64
/// (Steele, Lea, Flood 2014) started at `seed`.
constexpr uint64_t mix_bits(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// A permutation of 0 … n-1 that depends on seed and n alone (Fisher–Yates over
/// mix_bits, unbiased).
std::vector<int64_t> permutation(int64_t n, uint64_t seed);

}  // namespace longlora
