#include "longlora/train/optimizer.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::train {
namespace {

constexpr int64_t kElementsPerTask = 1 << 16;

}  // namespace

AdamW::AdamW(model::Decoder& decoder, const AdamWOptions& options) : options_(options) {
  model::visit_parameters(decoder, [&](const std::string& name, model::Parameter& parameter) {
    if (!parameter.trainable()) return;
    slots_.push_back({name, &parameter, at::zeros_like(parameter.master), at::zeros_like(parameter.master)});
  });
}

void AdamW::zero_grad() {
  for (Slot& slot : slots_) slot.parameter->grad.zero_();
}

double AdamW::grad_norm() const {
  double sum = 0.0;
  for (const Slot& slot : slots_) {
    // Summed in double: float32 sums of an embedding's millions of terms are off by percents.
    const double norm = slot.parameter->grad.norm(2, at::kDouble).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

void AdamW::step(double learning_rate, double grad_scale) {
  ++num_steps_;
  const auto steps = static_cast<double>(num_steps_);
  ops::cpu::AdamWStep step = {};
  step.learning_rate = static_cast<float>(learning_rate);
  step.beta1 = static_cast<float>(options_.beta1);
  step.beta2 = static_cast<float>(options_.beta2);
  step.one_minus_beta1 = static_cast<float>(1.0 - options_.beta1);
  step.one_minus_beta2 = static_cast<float>(1.0 - options_.beta2);
  step.epsilon = static_cast<float>(options_.epsilon);
  step.grad_scale = static_cast<float>(grad_scale);
  step.bias_correction1 = static_cast<float>(1.0 - std::pow(options_.beta1, steps));
  step.sqrt_bias_correction2 = static_cast<float>(std::sqrt(1.0 - std::pow(options_.beta2, steps)));
  const auto kernel = ops::cpu::adamw_kernel();
  for (Slot& slot : slots_) {
    step.weight_decay = slot.parameter->master.dim() >= 2 ? static_cast<float>(options_.weight_decay) : 0.0f;
    float* master = static_cast<float*>(slot.parameter->master.data_ptr());
    const float* grad = slot.parameter->grad.const_data_ptr<float>();
    float* exp_avg = slot.exp_avg.mutable_data_ptr<float>();
    float* exp_avg_sq = slot.exp_avg_sq.mutable_data_ptr<float>();
    at::parallel_for(0, slot.exp_avg.numel(), kElementsPerTask, [&](int64_t begin, int64_t end) {
      kernel(master + begin, grad + begin, exp_avg + begin, exp_avg_sq + begin, end - begin, step);
    });
    slot.parameter->refresh_value();
  }
}

}  // namespace longlora::train
