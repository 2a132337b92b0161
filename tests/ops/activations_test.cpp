#include "longlora/ops/activations.h"

#include "longlora/core/error.h"
#include "longlora/ops/reference.h"
#include "tests/ops/dtypes.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::leaf;
using test::random_tensor;

TEST(Gelu, EqualsThePlainVersionInDouble) {
  for (const at::ScalarType dtype : kDtypes)
    for (const GeluForm form : {GeluForm::kExact, GeluForm::kTanh}) {
      const at::Tensor x = leaf(random_tensor({70, 513}, 18) * 4, dtype),
                       grad = random_tensor({70, 513}, 20, dtype);
      const at::Tensor wide = leaf(x, at::kDouble);
      const at::Tensor y = gelu(x, form), expected = reference::gelu(wide, form);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_CLOSE(y, expected, tolerance_of(dtype));
      EXPECT_CLOSE(test::gradients(y, {x}, grad)[0], test::gradients(expected, {wide}, grad)[0],
                   tolerance_of(dtype));
    }
  // The two are not the same function.
  const at::Tensor x = random_tensor({100}, 21);
  EXPECT_GT(test::relative_difference(gelu(x, GeluForm::kExact), gelu(x, GeluForm::kTanh)), 1e-5);
}

TEST(Gelu, ThePlainVersionHasTheGradientOfFiniteDifferences) {
  for (const GeluForm form : {GeluForm::kExact, GeluForm::kTanh}) {
    const at::Tensor x = random_tensor({20}, 22, at::kDouble), grad = random_tensor({20}, 23, at::kDouble);
    const at::Tensor x_leaf = leaf(x, at::kDouble);
    const auto value = [&] { return (reference::gelu(x, form) * grad).sum().item<double>(); };
    EXPECT_CLOSE(test::gradients(reference::gelu(x_leaf, form), {x_leaf}, grad)[0],
                 test::finite_difference_gradient(x, value), 1e-8);
  }
}

TEST(SiluMul, EqualsThePlainVersionInDouble) {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor gate = leaf(random_tensor({70, 513}, 18) * 4, dtype),
                     up = leaf(random_tensor({70, 513}, 19), dtype);
    const at::Tensor grad = random_tensor({70, 513}, 20, dtype);
    const at::Tensor y = silu_mul(gate, up);
    const auto grads = test::gradients(y, {gate, up}, grad);
    const at::Tensor wide_gate = leaf(gate, at::kDouble), wide_up = leaf(up, at::kDouble);
    const at::Tensor expected = reference::silu_mul(wide_gate, wide_up);
    const auto expected_grads = test::gradients(expected, {wide_gate, wide_up}, grad);
    EXPECT_CLOSE(y, expected, tolerance_of(dtype));
    EXPECT_CLOSE(grads[0], expected_grads[0], tolerance_of(dtype));
    EXPECT_CLOSE(grads[1], expected_grads[1], tolerance_of(dtype));
  }
  EXPECT_THROW(silu_mul(random_tensor({2, 3}, 1), random_tensor({3, 2}, 1)), Error);
}

}  // namespace
}  // namespace longlora::ops
