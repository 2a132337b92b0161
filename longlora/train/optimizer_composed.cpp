#include "longlora/train/optimizer_composed.h"

#include <algorithm>

namespace longlora::train {
namespace {

/// So many at a time, so that what is in between stays small beside the largest parameters.
constexpr int64_t kElementsAtOnce = int64_t{1} << 24;

template <typename Body>
void for_each_piece(int64_t elements, const Body& body) {
  for (int64_t begin = 0; begin < elements; begin += kElementsAtOnce)
    body(begin, std::min(elements, begin + kElementsAtOnce));
}

}  // namespace

void update_composed(model::Parameter& parameter, at::Tensor& exp_avg, at::Tensor& exp_avg_sq,
                     const ops::cpu::AdamWStep& step) {
  // detach(): in float32 runs the master is the leaf itself.
  const at::Tensor master = parameter.master.detach().view(-1), grad = parameter.grad.view(-1);
  const at::Tensor first = exp_avg.view(-1), second = exp_avg_sq.view(-1);
  const float decay = 1.0f - step.learning_rate * step.weight_decay;
  const float step_size = step.learning_rate / step.bias_correction1;
  for_each_piece(master.numel(), [&](int64_t begin, int64_t end) {
    const at::Tensor g = grad.slice(0, begin, end) * step.grad_scale;
    at::Tensor m = first.slice(0, begin, end), v = second.slice(0, begin, end);
    m.mul_(step.beta1).add_(g, step.one_minus_beta1);
    v.mul_(step.beta2).addcmul_(g, g, step.one_minus_beta2);
    const at::Tensor divisor = v.sqrt().mul_(1.0f / step.sqrt_bias_correction2).add_(step.epsilon);
    master.slice(0, begin, end).mul_(decay).addcdiv_(m, divisor, -step_size);
  });
}

at::Tensor sum_of_squares_composed(const at::Tensor& x) {
  at::Tensor sum = at::zeros({}, x.options().dtype(at::kDouble));
  const at::Tensor flat = x.view(-1);
  for_each_piece(flat.numel(), [&](int64_t begin, int64_t end) {
    sum.add_(flat.slice(0, begin, end).to(at::kDouble).square_().sum());
  });
  return sum;
}

}  // namespace longlora::train
