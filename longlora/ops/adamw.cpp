#include "longlora/ops/adamw.h"

#include "longlora/ops/backend.h"
#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::ops {

void adamw(const at::Tensor& parameter, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const AdamWStep& step) {
  backend_for(parameter).adamw(parameter, grad, exp_avg, exp_avg_sq, step);
}

void adamw(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq, int64_t n,
           const AdamWStep& step) {
  static const cpu::AdamWKernel kernel = cpu::adamw_kernel();
  kernel(parameter, grad, exp_avg, exp_avg_sq, n, step);
}

at::Tensor sum_of_squares(const at::Tensor& x, int64_t run_elements) {
  return backend_for(x).sum_of_squares(x, run_elements);
}

}  // namespace longlora::ops
