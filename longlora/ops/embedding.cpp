#include "longlora/ops/embedding.h"

#include <ATen/Parallel.h>

#include "longlora/core/error.h"

namespace longlora::ops {

void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight) {
  const int64_t rows = grad_hidden.size(0), width = grad_hidden.size(1);
  if (ids.numel() != rows || grad_weight.size(1) != width || grad_weight.scalar_type() != at::kFloat)
    throw Error("[embedding gradient] expected grad_hidden [N, C], ids [N], float32 grad_weight [V, C]");
  const at::Tensor source = grad_hidden.to(at::kFloat).contiguous();
  if (!source.device().is_cpu()) {
    grad_weight.index_add_(0, ids, source);
    return;
  }
  const int64_t* id = ids.const_data_ptr<int64_t>();
  const float* from = source.const_data_ptr<float>();
  float* to = grad_weight.mutable_data_ptr<float>();
  // Each thread owns a range of columns, so no two write one element.
  at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t n = 0; n < rows; ++n)
      for (int64_t c = begin; c < end; ++c) to[id[n] * width + c] += from[n * width + c];
  });
}

}  // namespace longlora::ops
