#include "longlora/ops/matrix_product.h"

#include "longlora/ops/backend.h"

namespace longlora::ops {

at::Tensor matrix_product(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms) {
  return backend_for(a).matrix_product(a, right, terms);
}

void add_transposed_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum) {
  backend_for(a).add_transposed_product(a, b, sum);
}

}  // namespace longlora::ops
