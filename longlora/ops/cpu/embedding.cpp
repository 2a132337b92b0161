#include <ATen/Parallel.h>

#include "longlora/ops/cpu/ops.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops::cpu {

void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight) {
  const int64_t rows = grad_hidden.size(0), width = grad_hidden.size(1);
  const at::Tensor source = grad_hidden.contiguous();
  const int64_t* id = ids.const_data_ptr<int64_t>();
  float* to = grad_weight.mutable_data_ptr<float>();
  // Each thread has a range of columns of its own, so that no two threads write the same element.
  dispatch_element(source, [&]<typename T>(T) {
    const T* from = element_data<T>(source);
    at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
      for (int64_t n = 0; n < rows; ++n)
        row_kernels<T>().add_row(from + n * width + begin, to + id[n] * width + begin, end - begin);
    });
  });
}

}  // namespace longlora::ops::cpu
