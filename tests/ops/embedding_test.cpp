#include "longlora/ops/embedding.h"

#include "longlora/core/error.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

TEST(EmbeddingGradient, AddsEveryOccurrenceOfAnId) {
  const at::Tensor ids = test::random_ids({200}, 9, 31);
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor grad_hidden = random_tensor({200, 130}, 32, dtype);
    at::Tensor grad = random_tensor({9, 130}, 33);
    const at::Tensor expected = grad.to(at::kDouble).index_add(0, ids, grad_hidden.to(at::kDouble));
    add_embedding_gradient(grad_hidden, ids, grad);
    EXPECT_CLOSE(grad, expected, 1e-6);
  }
  at::Tensor half = at::zeros({9, 130}, at::kBFloat16);
  EXPECT_THROW(add_embedding_gradient(random_tensor({200, 130}, 1), ids, half), Error);
}

}  // namespace
}  // namespace longlora::ops
