// Compiled once per instruction set with LONGLORA_ISA naming the namespace.
#include "longlora/ops/cpu/attention_kernels.h"

#include <cmath>
#include <type_traits>

#include "longlora/ops/cpu/vector_math.h"

namespace longlora::ops::cpu {
namespace {

constexpr int64_t kBlock = kAttentionBlock;

// A masked score: far below any real one, and finite so that no NaN can arise.
constexpr float kMasked = -1e30f;

// Rows that a B operand interleaves.
template <typename T>
constexpr int64_t kInterleave = std::is_same_v<T, Bf16> ? 2 : 1;

template <typename T>
void copy_block(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out) {
  for (int64_t r = 0; r < kBlock; ++r)
    for (int64_t d = 0; d < width; ++d) out[r * width + d] = r < valid ? src[r * row_stride + d] : T{};
}

template <typename T>
void transpose_block(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out) {
  for (int64_t r = 0; r < kBlock; ++r)
    for (int64_t d = 0; d < width; ++d) out[d * kBlock + r] = r < valid ? src[r * row_stride + d] : T{};
}

template <typename T>
void pack_transposed(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out) {
  constexpr int64_t F = kInterleave<T>;
  for (int64_t d = 0; d < width; d += F)
    for (int64_t r = 0; r < kBlock; ++r)
      for (int64_t f = 0; f < F; ++f)
        out[d * kBlock + r * F + f] = r < valid ? src[r * row_stride + d + f] : T{};
}

template <typename T>
void pack_rows(const T* src, int64_t row_stride, int64_t valid, int64_t width, T* out) {
  constexpr int64_t F = kInterleave<T>;
  for (int64_t r = 0; r < kBlock; r += F)
    for (int64_t d = 0; d < width; ++d)
      for (int64_t f = 0; f < F; ++f)
        out[r * width + d * F + f] = r + f < valid ? src[(r + f) * row_stride + d] : T{};
}

template <typename T>
void softmax_block(float* scores, float scale, bool causal, int64_t first_key, float* maximum, float* sum,
                   float* output, int64_t width, T* probabilities) {
  for (int64_t q = 0; q < kBlock; ++q) {
    float* row = scores + q * kBlock;
    T* row_out = probabilities + q * kBlock;
    // The query sees the keys [first, last).
    const int64_t first = q + first_key, last = causal ? q + 1 : kBlock;
    if (first >= last) {
      for (int64_t k = 0; k < kBlock; ++k) store(row_out + k, 0.0f);
      continue;
    }
    for (int64_t k = 0; k < first; ++k) row[k] = kMasked;
    for (int64_t k = last; k < kBlock; ++k) row[k] = kMasked;
    for (int64_t k = 0; k < kBlock; ++k) row[k] *= scale;
    const float block_maximum = maximum_of(row, kBlock);
    const float best = block_maximum > maximum[q] ? block_maximum : maximum[q];
    const float rescale = fast_exp(maximum[q] - best);
    float total = 0.0f;
    for (int64_t k = 0; k < kBlock; ++k) {
      const float p = fast_exp(row[k] - best);
      total += p;
      store(row_out + k, p);
    }
    // fast_exp clamps at e^-87: masked entries are exactly zero all the same.
    for (int64_t k = 0; k < first; ++k) store(row_out + k, 0.0f);
    for (int64_t k = last; k < kBlock; ++k) store(row_out + k, 0.0f);
    maximum[q] = best;
    sum[q] = sum[q] * rescale + total;
    if (rescale != 1.0f)
      for (int64_t d = 0; d < width; ++d) output[q * width + d] *= rescale;
  }
}

template <typename T>
void finish_rows(const float* output, const float* maximum, const float* sum, int64_t valid, int64_t width,
                 T* out, int64_t row_stride, float* log_sum_exp) {
  for (int64_t r = 0; r < valid; ++r) {
    const float inverse = 1.0f / sum[r];
    for (int64_t d = 0; d < width; ++d) store(out + r * row_stride + d, output[r * width + d] * inverse);
    log_sum_exp[r] = maximum[r] + std::log(sum[r]);
  }
}

template <typename T>
void softmax_backward_block(const float* scores, const float* grad_probabilities, const float* log_sum_exp,
                            const float* delta, float scale, bool causal, int64_t first_key, T* probabilities,
                            T* grad_scores, T* grad_scores_packed) {
  constexpr int64_t F = kInterleave<T>;
  for (int64_t k = 0; k < kBlock; ++k) {
    const float* s = scores + k * kBlock;
    const float* g = grad_probabilities + k * kBlock;
    T* p_out = probabilities + k * kBlock;
    T* g_out = grad_scores + k * kBlock;
    // Seen by the queries [first, last): on the diagonal not by earlier ones, and
    // not by those whose window has left it behind.
    const int64_t reach = k - first_key + 1;
    const int64_t last = reach < 0 ? 0 : (reach < kBlock ? reach : kBlock), first = causal ? k : 0;
    for (int64_t q = 0; q < first; ++q) {
      p_out[q] = T{};
      g_out[q] = T{};
    }
    for (int64_t q = last; q < kBlock; ++q) {
      p_out[q] = T{};
      g_out[q] = T{};
    }
    for (int64_t q = first; q < last; ++q) {
      const float p = fast_exp(s[q] * scale - log_sum_exp[q]);
      store(p_out + q, p);
      store(g_out + q, p * (g[q] - delta[q]) * scale);
    }
  }
  for (int64_t k = 0; k < kBlock; k += F)
    for (int64_t q = 0; q < kBlock; ++q)
      for (int64_t f = 0; f < F; ++f)
        grad_scores_packed[k * kBlock + q * F + f] = grad_scores[(k + f) * kBlock + q];
}

template <typename T>
void row_dots(const T* grad_out, int64_t grad_stride, const T* out, int64_t out_stride, int64_t valid,
              int64_t width, float* delta) {
  for (int64_t r = 0; r < kBlock; ++r) {
    float dot = 0.0f;
    if (r < valid)
      for (int64_t d = 0; d < width; ++d)
        dot += load(grad_out + r * grad_stride + d) * load(out + r * out_stride + d);
    delta[r] = dot;
  }
}

template <typename T>
void store_rows(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride) {
  for (int64_t r = 0; r < valid; ++r)
    for (int64_t d = 0; d < width; ++d) store(dst + r * row_stride + d, src[r * width + d]);
}

template <typename T>
void store_transposed(const float* src, int64_t valid, int64_t width, T* dst, int64_t row_stride) {
  for (int64_t r = 0; r < valid; ++r)
    for (int64_t d = 0; d < width; ++d) store(dst + r * row_stride + d, src[d * kBlock + r]);
}

template <typename T>
constexpr AttentionKernels<T> kAttentionTable = {
    copy_block<T>,  pack_transposed<T>,        pack_rows<T>, transpose_block<T>, softmax_block<T>,
    finish_rows<T>, softmax_backward_block<T>, row_dots<T>,  store_rows<T>,      store_transposed<T>};

}  // namespace

namespace LONGLORA_ISA {
const AttentionKernels<float>& float_attention_kernels() {
  return kAttentionTable<float>;
}
const AttentionKernels<Bf16>& bf16_attention_kernels() {
  return kAttentionTable<Bf16>;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
