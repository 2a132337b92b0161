// This file is compiled once for each instruction set. LONGLORA_ISA is the namespace.
#include "longlora/ops/cpu/row_kernels.h"

#include <cmath>

#include "longlora/ops/cpu/vector_math.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

template <typename T>
void rms_norm_forward(const T* x, const T* weight, T* y, float* inverse_rms, int64_t rows, int64_t width,
                      float eps) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* xr = x + r * width;
    T* yr = y + r * width;
    const float sum = sum_over(width, [&](const auto& at) {
      const F32x16 v = at.load(xr);
      return v * v;
    });
    const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
    inverse_rms[r] = inverse;
    for_each_vector(width, [&](const auto& at) { at.store(yr, at.load(xr) * inverse * at.load(weight)); });
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
    const float dot =
        sum_over(width, [&](const auto& at) { return at.load(gr) * at.load(weight) * at.load(xr); });
    const float correction = dot * inverse * inverse / static_cast<float>(width);
    for_each_vector(width, [&](const auto& at) {
      const F32x16 g = at.load(gr), xc = at.load(xr);
      at.store(grad_weight, at.load(grad_weight) + g * xc * inverse);
      at.store(out, inverse * (g * at.load(weight) - xc * correction));
    });
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
    // The variance is summed in a second pass. As a difference of two large sums it would be lost for a row
    // with a small variance and a large mean.
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
    float sum = 0.0f,
          dot = 0.0f;  // the sum of the normalised row's gradient, and its product with the normalised row
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
      for_each_vector(half, [&](const auto& at) {
        const F32x16 x1 = at.load(in), x2 = at.load(in + half);
        const F32x16 cd = at.load(c), sd = at.load(s) * sine_sign;
        at.store(out, x1 * cd - x2 * sd);
        at.store(out + half, x2 * cd + x1 * sd);
      });
      for (int64_t d = 2 * half; d < head_size; ++d) out[d] = in[d];
    }
  }
}

template <typename T>
void silu_mul_forward(const T* gate, const T* up, T* y, int64_t n) {
  for_each_vector(n, [&](const auto& at) {
    const F32x16 g = at.load(gate);
    at.store(y, g / (1.0f + exp_of(-g)) * at.load(up));
  });
}

template <typename T>
void silu_mul_backward(const T* grad_y, const T* gate, const T* up, T* grad_gate, T* grad_up, int64_t n) {
  for_each_vector(n, [&](const auto& at) {
    const F32x16 g = at.load(gate), dy = at.load(grad_y), u = at.load(up);
    const F32x16 sigmoid = 1.0f / (1.0f + exp_of(-g));
    at.store(grad_up, dy * g * sigmoid);
    at.store(grad_gate, dy * u * sigmoid * (1.0f + g * (1.0f - sigmoid)));
  });
}

template <typename T>
void cross_entropy(T* logits, const int64_t* labels, float* loss, uint8_t* correct, int64_t rows,
                   int64_t width, float grad_scale) {
  for (int64_t r = 0; r < rows; ++r) {
    T* row = logits + r * width;
    const int64_t label = labels[r];
    const float label_logit = to_float(row[label]);
    const float maximum = largest_of(row, width);
    // Lanes beyond the end of a row add e^-1e30 = 0.
    const float sum = sum_over(width, [&](const auto& at) { return exp_of(at.load(row, -1e30f) - maximum); });
    loss[r] = std::log(sum) + maximum - label_logit;
    correct[r] = label_logit == maximum && largest_of(row, label) < maximum ? 1 : 0;
    if (grad_scale != 0.0f) {
      const float factor = grad_scale / sum;
      const float label_probability = exp_of(broadcast(label_logit - maximum))[0] / sum;
      for_each_vector(width, [&](const auto& at) { at.store(row, factor * exp_of(at.load(row) - maximum)); });
      store_one(row + label, grad_scale * (label_probability - 1.0f));
    }
  }
}

template <typename T>
void add_row(const T* x, float* sum, int64_t n) {
  for_each_vector(n, [&](const auto& at) { at.store(sum, at.load(sum) + at.load(x)); });
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
constexpr RowKernels<T> kTable = {rms_norm_forward<T>, rms_norm_backward<T>,  rotate<T>,
                                  silu_mul_forward<T>, silu_mul_backward<T>,  cross_entropy<T>,
                                  add_row<T>,          layer_norm_forward<T>, layer_norm_backward<T>};

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
