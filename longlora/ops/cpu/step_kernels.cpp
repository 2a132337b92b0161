// This file is compiled once for each instruction set. LONGLORA_ISA is the namespace. The compiler may not
// change the arithmetic (CMakeLists.txt), so that the order of a sum is the same for any number of rows.
#include "longlora/ops/cpu/step_kernels.h"

#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

// How many rows of x and of w a tile has at most. It is computed together, and its sums stay in registers.
constexpr int kTileLeft = 4, kTileRight = 4;
// How many bytes ahead of a product its weight is read. The processor reads ahead by itself, but not past the
// ends of short rows.
constexpr int64_t kBytesAhead = 8192;

// How a product reads its operands: in steps of kStep columns, of which the last may be shorter in w.
struct FloatOperands {
  using Element = float;
  using Vector = F32x16;
  static constexpr int64_t kStep = kLanes;
  static LONGLORA_INLINE Vector load(const float* p) { return load_16(p); }
  static LONGLORA_INLINE Vector load_rest(const float* p, int64_t count) {
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1u), p);
#else
    return load_part(p, count);
#endif
  }
  static LONGLORA_INLINE F32x16 add(Vector a, Vector b, F32x16 sum) {
    return fused_add(a, b, sum);
  }
};

#if defined(__AVX512BF16__)
struct Bf16Operands {
  using Element = Bf16;
  using Vector = __m512bh;
  static constexpr int64_t kStep = 2 * kLanes;
  static LONGLORA_INLINE Vector load(const Bf16* p) {
    return reinterpret_cast<Vector>(_mm512_loadu_si512(p));
  }
  static LONGLORA_INLINE Vector load_rest(const Bf16* p, int64_t count) {
    const auto mask = static_cast<__mmask32>((1u << count) - 1u);
    return reinterpret_cast<Vector>(_mm512_maskz_loadu_epi16(mask, p));
  }
  static LONGLORA_INLINE F32x16 add(Vector a, Vector b, F32x16 sum) { return _mm512_dpbf16_ps(sum, a, b); }
};
#else
struct Bf16Operands {
  using Element = Bf16;
  using Vector = F32x16;
  static constexpr int64_t kStep = kLanes;
  static LONGLORA_INLINE Vector load(const Bf16* p) { return load_16(p); }
  static LONGLORA_INLINE Vector load_rest(const Bf16* p, int64_t count) { return load_part(p, count); }
  static LONGLORA_INLINE F32x16 add(Vector a, Vector b, F32x16 sum) { return fused_add(a, b, sum); }
};
#endif

// Computes the products of Left rows of x and Right rows of w. It reads Lines lines of memory ahead in each
// step, which begin at `line` of those that a step reads.
template <typename Operands, int Left, int Right, int Lines>
void multiply_tile(int64_t k, const typename Operands::Element* x, const typename Operands::Element* w,
                   int64_t line, float* out, int64_t out_stride) {
  constexpr int64_t kStep = Operands::kStep, kAhead = kBytesAhead / static_cast<int64_t>(sizeof(*w));
  const int64_t width = step_width(k);
  F32x16 sums[Left][4] = {};
  const auto add = [&](int64_t at, const auto& load) {
    typename Operands::Vector right[Right];
    for (int r = 0; r < Right; ++r) right[r] = load(w + r * k + at);
    for (int l = 0; l < Left; ++l) {
      const typename Operands::Vector left = Operands::load(x + l * width + at);
      for (int r = 0; r < Right; ++r) sums[l][r] = Operands::add(left, right[r], sums[l][r]);
    }
  };
  int64_t at = 0;
  for (; at + kStep <= k; at += kStep) {
    // The rows of a tile follow each other, and are read ahead in the order of memory.
    for (int l = 0; l < Lines; ++l) __builtin_prefetch(w + kAhead + at * Right + (line + l) * kStep);
    add(at, [](const auto* p) { return Operands::load(p); });
  }
  if (at < k) add(at, [&](const auto* p) { return Operands::load_rest(p, k - at); });
  for (int l = 0; l < Left; ++l) {
    float made[4];
    store_sums_of_lanes(sums[l], made);
    std::memcpy(out + l * out_stride, made, Right * sizeof(float));
  }
}

// Calls multiply_tile for the first Left rows of x, or all `left` of them where these are fewer.
template <typename Operands, int Left, int Right, int Lines>
LONGLORA_INLINE void multiply_rows(int64_t left, int64_t k, const typename Operands::Element* x,
                                   const typename Operands::Element* w, int64_t line, float* out,
                                   int64_t out_stride) {
  if constexpr (Left > 1)
    if (left < Left)
      return multiply_rows<Operands, Left - 1, Right, Lines>(left, k, x, w, line, out, out_stride);
  multiply_tile<Operands, Left, Right, Lines>(k, x, w, line, out, out_stride);
}

// Multiplies all m rows of x with Right rows of w. Of each step's lines, the first tile reads FirstLines
// ahead and the others OtherLines each.
template <typename Operands, int Right, int FirstLines, int OtherLines>
void multiply_band(int64_t m, int64_t k, const typename Operands::Element* x,
                   const typename Operands::Element* w, float* out, int64_t out_stride) {
  multiply_rows<Operands, kTileLeft, Right, FirstLines>(m, k, x, w, 0, out, out_stride);
  int64_t line = FirstLines;
  for (int64_t i = kTileLeft; i < m; i += kTileLeft, line += OtherLines)
    multiply_rows<Operands, kTileLeft, Right, OtherLines>(m - i, k, x + i * step_width(k), w, line,
                                                          out + i * out_stride, out_stride);
}

template <typename Operands>
void multiply(int64_t m, int64_t n, int64_t k, const typename Operands::Element* x,
              const typename Operands::Element* w, float* out, int64_t out_stride) {
  int64_t j = 0;
  for (; j + kTileRight <= n; j += kTileRight) {
    // With many rows the tiles share the reading ahead, so that memory is not idle for long.
    if (m <= 2 * kTileLeft)
      multiply_band<Operands, kTileRight, kTileRight, 0>(m, k, x, w + j * k, out + j, out_stride);
    else
      multiply_band<Operands, kTileRight, 2, 2>(m, k, x, w + j * k, out + j, out_stride);
  }
  for (; j < n; ++j) multiply_band<Operands, 1, 0, 0>(m, k, x, w + j * k, out + j, out_stride);
}

void round_all(const float* x, int64_t n, Bf16* out) {
  for_each_vector(n, [&](const auto& at) { at.store(out, at.load(x)); });
}

LONGLORA_INLINE F32x16 silu(F32x16 x) {
  return x / (1.0f + exp_of(-x));
}

LONGLORA_INLINE F32x16 gelu_tanh(F32x16 x) {
  // 0.5 (1 + tanh(u)) is 1 / (1 + e^−2u).
  const F32x16 u = 0.7978845608028654f * (x + 0.044715f * x * x * x);
  return x / (1.0f + exp_of(-2.0f * u));
}

// x Φ(x) with the complementary error function of Abramowitz and Stegun, formula 7.1.26, whose error is below
// 1.5e-7.
LONGLORA_INLINE F32x16 gelu(F32x16 x) {
  const F32x16 z = larger(x, -x) * 0.7071067811865476f;
  const F32x16 t = 1.0f / (1.0f + 0.3275911f * z);
  F32x16 p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const F32x16 half_tail = 0.5f * p * t * exp_of(-z * z);  // Φ(−|x|)
  return x < 0.0f ? x * half_tail : x - x * half_tail;
}

template <typename Function>
LONGLORA_INLINE void activate_with(float* gate, const float* up, int64_t n, const Function& function) {
  if (up == nullptr)
    for_each_vector(n, [&](const auto& at) { at.store(gate, function(at.load(gate))); });
  else
    for_each_vector(n, [&](const auto& at) { at.store(gate, function(at.load(gate)) * at.load(up)); });
}

void activate(StepActivation activation, float* gate, const float* up, int64_t n) {
  switch (activation) {
    case StepActivation::kSilu:
      activate_with(gate, up, n, [](F32x16 x) { return silu(x); });
      break;
    case StepActivation::kGelu:
      activate_with(gate, up, n, [](F32x16 x) { return gelu(x); });
      break;
    case StepActivation::kGeluTanh:
      activate_with(gate, up, n, [](F32x16 x) { return gelu_tanh(x); });
      break;
  }
}

constexpr StepKernels kTable = {multiply<FloatOperands>, multiply<Bf16Operands>, round_all, activate};

}  // namespace

namespace LONGLORA_ISA {
const StepKernels& step_kernels() {
  return kTable;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
