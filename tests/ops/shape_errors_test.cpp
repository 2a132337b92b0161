#include "longlora/core/error.h"
#include "longlora/ops/activations.h"
#include "longlora/ops/linear.h"
#include "longlora/ops/norms.h"
#include "longlora/ops/rotate.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;
using ::testing::HasSubstr;

TEST(ShapeErrors, ShowTheShapes) {
  const auto expect = [](const auto& compute, const std::string& part) {
    try {
      compute();
      ADD_FAILURE() << "no error: " << part;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  };
  const at::Tensor x = random_tensor({4, 8}, 1), narrow = random_tensor({7}, 2), number = at::ones({});
  expect([&] { rms_norm(x, narrow, 1e-5); },
         "[rms_norm] expected x [N, C] and weight [C], got [4, 8] and [7]");
  expect([&] { layer_norm(x, narrow, narrow, 1e-5); }, "got [4, 8], [7] and [7]");
  expect([&] { silu_mul(x, narrow); }, "got [4, 8] and [7]");
  expect([&] { rotate(x, narrow, x, x); }, "got [4, 8], [7], [4, 8] and [4, 8]");
  LinearOperands operands;
  operands.weight = random_tensor({3, 5}, 3);
  expect([&] { linear(x, operands); }, "got [4, 8] and [3, 5]");
  expect([&] { linear(number, operands); }, "got [] and [3, 5]");
}

}  // namespace
}  // namespace longlora::ops
