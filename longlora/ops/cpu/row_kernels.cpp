// Compiled once per instruction set with LONGLORA_ISA naming the namespace.
#include "longlora/ops/cpu/row_kernels.h"

#include <cmath>

#include "longlora/ops/cpu/vector_math.h"

namespace longlora::ops::cpu {
namespace {

template <typename T>
void rms_norm_forward(const T* x, const T* weight, T* y, float* inverse_rms, int64_t rows, int64_t width,
                      float eps) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* xr = x + r * width;
    T* yr = y + r * width;
    float sum = 0.0f;
    for (int64_t c = 0; c < width; ++c) sum += load(xr + c) * load(xr + c);
    const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
    inverse_rms[r] = inverse;
    for (int64_t c = 0; c < width; ++c) store(yr + c, load(xr + c) * inverse * load(weight + c));
  }
}

template <typename T>
void rms_norm_backward(const T* grad_y, const T* x, const T* weight, const float* inverse_rms, T* grad_x,
                       float* grad_weight, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* gr = grad_y + r * width;
    const T* xr = x + r * width;
    T* out = grad_x + r * width;
    const float inverse = inverse_rms[r];
    float dot = 0.0f;
    for (int64_t c = 0; c < width; ++c) dot += load(gr + c) * load(weight + c) * load(xr + c);
    const float correction = dot * inverse * inverse / static_cast<float>(width);
    for (int64_t c = 0; c < width; ++c) {
      const float g = load(gr + c);
      const float xc = load(xr + c);
      grad_weight[c] += g * xc * inverse;
      store(out + c, inverse * (g * load(weight + c) - xc * correction));
    }
  }
}

template <typename T>
void layer_norm_forward(const T* x, const T* weight, const T* bias, T* y, float* mean,
                        float* inverse_deviation, int64_t rows, int64_t width, float eps) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* xr = x + r * width;
    T* yr = y + r * width;
    float sum = 0.0f;
    for (int64_t c = 0; c < width; ++c) sum += load(xr + c);
    const float middle = sum / static_cast<float>(width);
    // In a second pass: the difference of two large sums would lose the small variance of a far-off row.
    float squares = 0.0f;
    for (int64_t c = 0; c < width; ++c) squares += (load(xr + c) - middle) * (load(xr + c) - middle);
    const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
    mean[r] = middle;
    inverse_deviation[r] = inverse;
    for (int64_t c = 0; c < width; ++c)
      store(yr + c, (load(xr + c) - middle) * inverse * load(weight + c) + load(bias + c));
  }
}

template <typename T>
void layer_norm_backward(const T* grad_y, const T* x, const T* weight, const float* mean,
                         const float* inverse_deviation, T* grad_x, float* grad_weight, float* grad_bias,
                         int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* gr = grad_y + r * width;
    const T* xr = x + r * width;
    T* out = grad_x + r * width;
    const float middle = mean[r], inverse = inverse_deviation[r];
    float sum = 0.0f, dot = 0.0f;  // of the normalized row's gradient, and with the normalized row
    for (int64_t c = 0; c < width; ++c) {
      const float g = load(gr + c) * load(weight + c);
      sum += g;
      dot += g * (load(xr + c) - middle) * inverse;
    }
    const float mean_gradient = sum / static_cast<float>(width), mean_dot = dot / static_cast<float>(width);
    for (int64_t c = 0; c < width; ++c) {
      const float g = load(gr + c);
      const float normalized = (load(xr + c) - middle) * inverse;
      grad_weight[c] += g * normalized;
      grad_bias[c] += g;
      store(out + c, inverse * (g * load(weight + c) - mean_gradient - normalized * mean_dot));
    }
  }
}

template <typename T>
void rotate(const T* x, int64_t row_stride, T* y, const int64_t* positions, const float* cos,
            const float* sin, int64_t rows, int64_t heads, int64_t head_size, int64_t half, float sine_sign) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* c = cos + positions[r] * half;
    const float* s = sin + positions[r] * half;
    for (int64_t h = 0; h < heads; ++h) {
      const T* in = x + r * row_stride + h * head_size;
      T* out = y + (r * heads + h) * head_size;
      for (int64_t d = 0; d < half; ++d) {
        const float x1 = load(in + d);
        const float x2 = load(in + half + d);
        const float sd = s[d] * sine_sign;
        store(out + d, x1 * c[d] - x2 * sd);
        store(out + half + d, x2 * c[d] + x1 * sd);
      }
      for (int64_t d = 2 * half; d < head_size; ++d) out[d] = in[d];
    }
  }
}

template <typename T>
void silu_mul_forward(const T* gate, const T* up, T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = load(gate + i);
    store(y + i, g / (1.0f + fast_exp(-g)) * load(up + i));
  }
}

template <typename T>
void silu_mul_backward(const T* grad_y, const T* gate, const T* up, T* grad_gate, T* grad_up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = load(gate + i);
    const float dy = load(grad_y + i);
    const float sigmoid = 1.0f / (1.0f + fast_exp(-g));
    store(grad_up + i, dy * g * sigmoid);
    store(grad_gate + i, dy * load(up + i) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
  }
}

template <typename T>
void cross_entropy(T* logits, const int64_t* labels, float* loss, uint8_t* correct, int64_t rows,
                   int64_t width, float grad_scale) {
  for (int64_t r = 0; r < rows; ++r) {
    T* row = logits + r * width;
    const int64_t label = labels[r];
    const float label_logit = load(row + label);
    const float maximum = maximum_of(row, width);
    float sum = 0.0f;
    for (int64_t c = 0; c < width; ++c) sum += fast_exp(load(row + c) - maximum);
    loss[r] = std::log(sum) + maximum - label_logit;
    bool is_first_maximum = label_logit == maximum;
    for (int64_t c = 0; c < label && is_first_maximum; ++c) is_first_maximum = load(row + c) != maximum;
    correct[r] = is_first_maximum ? 1 : 0;
    if (grad_scale != 0.0f) {
      const float factor = grad_scale / sum;
      for (int64_t c = 0; c < width; ++c) store(row + c, factor * fast_exp(load(row + c) - maximum));
      const float label_probability = fast_exp(label_logit - maximum) / sum;
      store(row + label, grad_scale * (label_probability - 1.0f));
    }
  }
}

void adamw(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq, int64_t n,
           const AdamWStep& step) {
  const float decay = 1.0f - step.learning_rate * step.weight_decay;
  const float step_size = step.learning_rate / step.bias_correction1;
  const float beta1 = step.beta1, beta2 = step.beta2;
  const float rest1 = step.one_minus_beta1, rest2 = step.one_minus_beta2;
  const float epsilon = step.epsilon, grad_scale = step.grad_scale;
  const float inverse_correction2 = 1.0f / step.sqrt_bias_correction2;
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] * grad_scale;
    const float m = beta1 * exp_avg[i] + rest1 * g;
    const float v = beta2 * exp_avg_sq[i] + rest2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    parameter[i] = parameter[i] * decay - step_size * m / (std::sqrt(v) * inverse_correction2 + epsilon);
  }
}

template <typename T>
constexpr RowKernels<T> kTable = {rms_norm_forward<T>,   rms_norm_backward<T>,  rotate<T>,
                                  silu_mul_forward<T>,   silu_mul_backward<T>,  cross_entropy<T>,
                                  layer_norm_forward<T>, layer_norm_backward<T>};

}  // namespace

namespace LONGLORA_ISA {
const RowKernels<float>& float_kernels() {
  return kTable<float>;
}
const RowKernels<Bf16>& bf16_kernels() {
  return kTable<Bf16>;
}
AdamWKernel adamw_kernel() {
  return adamw;
}
}  // namespace LONGLORA_ISA

}  // namespace longlora::ops::cpu
