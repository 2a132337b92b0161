#include "longlora/ops/rotate.h"

#include "longlora/core/error.h"
#include "longlora/ops/reference.h"
#include "tests/ops/dtypes.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::leaf;
using test::random_tensor;

TEST(Rotate, EqualsThePlainVersionInDouble) {
  for (const at::ScalarType dtype : kDtypes)
    for (const int64_t half : {8, 5}) {  // the whole head; a part of it
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " half " << half);
      const at::Tensor angles = random_tensor({50, half}, 10);
      const at::Tensor cos = angles.cos(), sin = angles.sin();
      const at::Tensor positions = test::random_ids({140}, 50, 11);
      const at::Tensor x = leaf(random_tensor({140, 3, 16}, 12), dtype);
      const at::Tensor grad = random_tensor({140, 3, 16}, 13, dtype);
      const at::Tensor y = rotate(x, positions, cos, sin);
      const at::Tensor wide = leaf(x, at::kDouble);
      const at::Tensor expected = reference::rotate(wide, positions, cos, sin);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_CLOSE(y, expected, tolerance_of(dtype));
      EXPECT_CLOSE(test::gradients(y, {x}, grad)[0], test::gradients(expected, {wide}, grad)[0],
                   tolerance_of(dtype));
    }
}

TEST(Rotate, TakesStridedHeadsAndStridedGradients) {
  const at::Tensor angles = random_tensor({20, 4}, 14);
  const at::Tensor cos = angles.cos(), sin = angles.sin(), positions = at::arange(20);
  const at::Tensor fused = leaf(random_tensor({20, 6, 8}, 15), at::kFloat);
  const at::Tensor y = rotate(fused.narrow(1, 2, 3), positions, cos, sin);
  EXPECT_CLOSE(y, reference::rotate(fused.narrow(1, 2, 3), positions, cos, sin), 1e-6);
  const at::Tensor grad = random_tensor({3, 20, 8}, 16).transpose(0, 1);
  const at::Tensor expected =
      test::gradients(reference::rotate(fused.narrow(1, 2, 3), positions, cos, sin), {fused}, grad)[0];
  EXPECT_CLOSE(test::gradients(y, {fused}, grad)[0], expected, 1e-6);
  // Heads that do not touch each other are copied first.
  const at::Tensor wide = random_tensor({20, 3, 12}, 17).narrow(2, 0, 8);
  EXPECT_CLOSE(rotate(wide, positions, cos, sin), reference::rotate(wide, positions, cos, sin), 1e-6);
  EXPECT_THROW(rotate(wide, at::arange(19), cos, sin), Error);
}

}  // namespace
}  // namespace longlora::ops
