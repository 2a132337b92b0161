#include "longlora/ops/embedding.h"

#include <ATen/Parallel.h>

#include "longlora/core/error.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops {

void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight) {
  const int64_t rows = grad_hidden.size(0), width = grad_hidden.size(1);
  if (ids.numel() != rows || grad_weight.size(1) != width || grad_weight.scalar_type() != at::kFloat)
    throw Error("[embedding gradient] expected grad_hidden [N, C], ids [N], float32 grad_weight [V, C]");
  if (!cpu::has_kernels(grad_hidden)) {
    grad_weight.index_add_(0, ids, grad_hidden.to(at::kFloat));
    return;
  }
  const at::Tensor source = grad_hidden.contiguous();
  const int64_t* id = ids.const_data_ptr<int64_t>();
  float* to = grad_weight.mutable_data_ptr<float>();
  // Each thread owns a range of columns, so no two write one element.
  cpu::dispatch_element(source, [&]<typename T>(T) {
    const T* from = cpu::element_data<T>(source);
    at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
      for (int64_t n = 0; n < rows; ++n)
        cpu::row_kernels<T>().add_row(from + n * width + begin, to + id[n] * width + begin, end - begin);
    });
  });
}

}  // namespace longlora::ops
