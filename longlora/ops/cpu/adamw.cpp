#include <ATen/Parallel.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <vector>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/ops.h"
#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::ops::cpu {
namespace {

constexpr int64_t kElementsAtOnce = 1 << 16;

double sum_of_run(const float* data, int64_t count) {
  double lanes[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int64_t l = 0; l < 8; ++l) lanes[l] += static_cast<double>(data[i + l]) * data[i + l];
  for (; i < count; ++i) lanes[0] += static_cast<double>(data[i]) * data[i];
  return std::accumulate(std::begin(lanes), std::end(lanes), 0.0);
}

}  // namespace

void adamw(const at::Tensor& parameter, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const AdamWStep& step) {
  const AdamWKernel kernel = adamw_kernel();
  // The parameter may be a leaf of autograd's graph, which mutable_data_ptr() refuses to write.
  auto* const p = static_cast<float*>(parameter.data_ptr());
  const auto* const g = grad.const_data_ptr<float>();
  auto *const m = exp_avg.mutable_data_ptr<float>(), *const v = exp_avg_sq.mutable_data_ptr<float>();
  at::parallel_for(0, parameter.numel(), kElementsAtOnce, [&](int64_t begin, int64_t end) {
    kernel(p + begin, g + begin, m + begin, v + begin, end - begin, step);
  });
}

at::Tensor sum_of_squares(const at::Tensor& x, int64_t run_elements) {
  std::vector<double> sums(static_cast<size_t>(num_tasks(x.numel(), run_elements)));
  const float* data = x.const_data_ptr<float>();
  parallel_chunks(x.numel(), run_elements, [&](int64_t piece, int64_t begin, int64_t end) {
    sums[static_cast<size_t>(piece)] = sum_of_run(data + begin, end - begin);
  });
  return at::scalar_tensor(std::accumulate(sums.begin(), sums.end(), 0.0), at::kDouble);
}

}  // namespace longlora::ops::cpu
