#include "longlora/ops/embedding.h"

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"

namespace longlora::ops {

void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight) {
  const int64_t rows = grad_hidden.size(0), width = grad_hidden.size(1);
  if (ids.numel() != rows || grad_weight.size(1) != width || grad_weight.scalar_type() != at::kFloat)
    throw Error("[embedding gradient] expected grad_hidden [N, C], ids [N], float32 grad_weight [V, C]");
  backend_for(grad_hidden).add_embedding_gradient(grad_hidden, ids, grad_weight);
}

}  // namespace longlora::ops
