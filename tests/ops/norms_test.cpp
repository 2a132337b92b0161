#include "longlora/ops/norms.h"

#include <ATen/Parallel.h>

#include "longlora/core/error.h"
#include "longlora/ops/reference.h"
#include "tests/ops/dtypes.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::leaf;
using test::random_tensor;

TEST(RmsNorm, EqualsThePlainVersionInDouble) {
  for (const at::ScalarType dtype : kDtypes)
    for (const auto& [rows, width] :
         {std::pair<int64_t, int64_t>{1, 5}, {3, 7}, {127, 64}, {300, 40}, {2, 1000}}) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " " << rows << " × " << width);
      const at::Tensor x = leaf(random_tensor({rows, width}, 1), dtype);
      const at::Tensor weight = leaf(random_tensor({width}, 2), dtype);
      const at::Tensor grad = random_tensor({rows, width}, 3, dtype);
      const at::Tensor y = rms_norm(x, weight, 1e-5);
      const auto grads = test::gradients(y, {x, weight}, grad);

      const at::Tensor wide_x = leaf(x, at::kDouble), wide_weight = leaf(weight, at::kDouble);
      const at::Tensor expected = reference::rms_norm(wide_x, wide_weight, 1e-5);
      const auto expected_grads = test::gradients(expected, {wide_x, wide_weight}, grad);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_CLOSE(y, expected, tolerance_of(dtype));
      EXPECT_CLOSE(grads[0], expected_grads[0], tolerance_of(dtype) * 2);
      EXPECT_CLOSE(grads[1], expected_grads[1], tolerance_of(dtype) * 2);
    }
}

TEST(RmsNorm, TakesInputThatIsNotContiguous) {
  const at::Tensor x = random_tensor({9, 12}, 4), weight = random_tensor({24}, 5).slice(0, 0, 24, 2);
  const at::Tensor strided = x.t().contiguous().t();
  EXPECT_CLOSE(rms_norm(strided, weight, 1e-5), reference::rms_norm(x, weight, 1e-5), 1e-6);
  EXPECT_THROW(rms_norm(x, random_tensor({11}, 6), 1e-5), Error);
}

TEST(RmsNorm, DoesNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  const at::Tensor x = leaf(random_tensor({1000, 24}, 7), at::kFloat),
                   weight = leaf(random_tensor({24}, 8), at::kFloat);
  const at::Tensor grad = random_tensor({1000, 24}, 9);
  at::set_num_threads(1);
  const auto one = test::gradients(rms_norm(x, weight, 1e-5), {x, weight}, grad);
  at::set_num_threads(3);
  const auto three = test::gradients(rms_norm(x, weight, 1e-5), {x, weight}, grad);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one[0], three[0]));
  EXPECT_TRUE(at::equal(one[1], three[1]));
}

TEST(LayerNorm, EqualsThePlainVersionInDouble) {
  for (const at::ScalarType dtype : kDtypes)
    for (const auto& [rows, width] :
         {std::pair<int64_t, int64_t>{1, 5}, {3, 7}, {127, 64}, {300, 40}, {2, 1000}}) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " " << rows << " × " << width);
      // Rows that lie away from zero: the mean has to go first.
      const at::Tensor x = leaf(random_tensor({rows, width}, 1) + 5.0, dtype);
      const at::Tensor weight = leaf(random_tensor({width}, 2), dtype),
                       bias = leaf(random_tensor({width}, 4), dtype);
      const at::Tensor grad = random_tensor({rows, width}, 3, dtype);
      const at::Tensor y = layer_norm(x, weight, bias, 1e-5);
      const auto grads = test::gradients(y, {x, weight, bias}, grad);

      const std::vector<at::Tensor> wide = {leaf(x, at::kDouble), leaf(weight, at::kDouble),
                                            leaf(bias, at::kDouble)};
      const at::Tensor expected = reference::layer_norm(wide[0], wide[1], wide[2], 1e-5);
      const auto expected_grads = test::gradients(expected, wide, grad);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_CLOSE(y, expected, tolerance_of(dtype));
      for (size_t i = 0; i < wide.size(); ++i) {
        EXPECT_EQ(grads[i].scalar_type(), dtype);
        EXPECT_CLOSE(grads[i], expected_grads[i], tolerance_of(dtype) * 2);
      }
    }
}

TEST(LayerNorm, ThePlainVersionHasTheGradientOfFiniteDifferences) {
  const at::Tensor x = random_tensor({3, 6}, 5, at::kDouble), weight = random_tensor({6}, 6, at::kDouble),
                   bias = random_tensor({6}, 7, at::kDouble), grad = random_tensor({3, 6}, 8, at::kDouble);
  const std::vector<at::Tensor> leaves = {leaf(x, at::kDouble), leaf(weight, at::kDouble),
                                          leaf(bias, at::kDouble)};
  const auto grads =
      test::gradients(reference::layer_norm(leaves[0], leaves[1], leaves[2], 1e-5), leaves, grad);
  const auto value = [&] {
    return (reference::layer_norm(x, weight, bias, 1e-5) * grad).sum().item<double>();
  };
  EXPECT_CLOSE(grads[0], test::finite_difference_gradient(x, value), 1e-8);
  EXPECT_CLOSE(grads[1], test::finite_difference_gradient(weight, value), 1e-8);
  EXPECT_CLOSE(grads[2], test::finite_difference_gradient(bias, value), 1e-8);
}

TEST(LayerNorm, TakesInputThatIsNotContiguousAndRefusesOtherWidths) {
  const at::Tensor x = random_tensor({9, 12}, 4), weight = random_tensor({24}, 5).slice(0, 0, 24, 2),
                   bias = random_tensor({12}, 6);
  EXPECT_CLOSE(layer_norm(x.t().contiguous().t(), weight, bias, 1e-5),
               reference::layer_norm(x, weight, bias, 1e-5), 1e-6);
  EXPECT_THROW(layer_norm(x, random_tensor({11}, 6), bias, 1e-5), Error);
  EXPECT_THROW(layer_norm(x, weight, random_tensor({11}, 6), 1e-5), Error);
}

TEST(LayerNorm, DoesNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  const at::Tensor x = leaf(random_tensor({1000, 24}, 7), at::kFloat),
                   weight = leaf(random_tensor({24}, 8), at::kFloat),
                   bias = leaf(random_tensor({24}, 9), at::kFloat), grad = random_tensor({1000, 24}, 9);
  at::set_num_threads(1);
  const auto one = test::gradients(layer_norm(x, weight, bias, 1e-5), {x, weight, bias}, grad);
  at::set_num_threads(3);
  const auto three = test::gradients(layer_norm(x, weight, bias, 1e-5), {x, weight, bias}, grad);
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << i;
}

}  // namespace
}  // namespace longlora::ops
