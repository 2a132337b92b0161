// The numbers of one AdamW step, without tensors.
#pragma once

namespace longlora::ops {

/// The numbers of a step of torch.optim.AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101). Gradients are
/// first multiplied by grad_scale.
struct AdamWStep {
  float learning_rate, beta1, beta2, epsilon, weight_decay, grad_scale;
  // 1 − beta, computed in double and then rounded. The difference of rounded numbers would be wrong by 5e-5.
  float one_minus_beta1, one_minus_beta2;
  float bias_correction1, sqrt_bias_correction2;
};

}  // namespace longlora::ops
