#include "longlora/ops/matrix_product.h"

#include <ATen/Parallel.h>

#include "longlora/ops/cpu/isa.h"
#include "longlora/ops/cpu/product_kernels.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;

// Rounding of the result, and of float32 sums.
constexpr double kTolerance = 6e-3;

struct Sizes {
  int64_t rows, depth, columns;
};
// Whole and partial tiles, panels and pieces; too few rows or an odd depth for blocks.
constexpr Sizes kSizes[] = {{192, 64, 64},   {193, 256, 704}, {50, 2, 65},    {400, 1026, 80},
                            {97, 2050, 200}, {61, 3000, 130}, {1, 64, 64},    {3, 37, 61},
                            {100, 33, 100},  {53, 40, 4000},  {200, 5000, 64}};

at::Tensor wide(const at::Tensor& x) {
  return x.to(at::kDouble);
}

TEST(MatrixProduct, EqualsTheProductInDouble) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat})
    for (const Sizes& sizes : kSizes) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " " << sizes.rows << " × " << sizes.depth
                                        << " × " << sizes.columns);
      const at::Tensor a = random_tensor({sizes.rows, sizes.depth}, 1, dtype);
      const at::Tensor b = random_tensor({sizes.depth, sizes.columns}, 2, dtype);
      const at::Tensor expected = at::mm(wide(a), wide(b));
      const double tolerance = kTolerance;
      const at::Tensor transposed = b.t().contiguous();
      EXPECT_CLOSE(matrix_product(a, {b}), expected, tolerance);
      EXPECT_CLOSE(matrix_product(a, {transposed, /*transposed=*/true}), expected, tolerance);
    }
}

TEST(MatrixProduct, AddsALowRankProductAndABiasBeforeItRounds) {
  for (const Sizes& sizes : kSizes) {
    SCOPED_TRACE(::testing::Message() << sizes.rows << " × " << sizes.depth << " × " << sizes.columns);
    const at::Tensor a = random_tensor({sizes.rows, sizes.depth}, 1, at::kBFloat16);
    const at::Tensor b = random_tensor({sizes.columns, sizes.depth}, 2, at::kBFloat16);
    const at::Tensor low = random_tensor({sizes.rows, 8}, 3, at::kBFloat16);
    const at::Tensor up = random_tensor({sizes.columns, 8}, 4, at::kBFloat16);
    const at::Tensor bias = random_tensor({sizes.columns}, 5, at::kBFloat16);
    const at::Tensor product = at::mm(wide(a), wide(b).t()), update = at::mm(wide(low), wide(up).t());
    const at::Tensor up_plain = up.t().contiguous();
    EXPECT_CLOSE(matrix_product(a, {b, true}, {.low_rank = low, .low_rank_right = {up, true}}),
                 product + update, kTolerance * 2);
    EXPECT_CLOSE(matrix_product(a, {b, true}, {.low_rank = low, .low_rank_right = {up_plain}}),
                 product + update, kTolerance * 2);
    EXPECT_CLOSE(matrix_product(a, {b, true}, {.bias = bias}), product + wide(bias), kTolerance * 2);
    EXPECT_CLOSE(matrix_product(a, {b, true}, {.bias = bias, .low_rank = low, .low_rank_right = {up, true}}),
                 product + update + wide(bias), kTolerance * 2);
  }
}

TEST(MatrixProduct, TakesRowsThatLieApart) {
  const at::Tensor a = random_tensor({100, 200}, 1, at::kBFloat16).slice(1, 8, 136);
  const at::Tensor b = random_tensor({128, 300}, 2, at::kBFloat16).slice(1, 100, 228);
  EXPECT_CLOSE(matrix_product(a, {b}), at::mm(wide(a), wide(b)), kTolerance);
  EXPECT_CLOSE(matrix_product(a, {b, true}), at::mm(wide(a), wide(b).t()), kTolerance);
}

TEST(MatrixProduct, DoesNotDependOnTheNumberOfThreads) {
  const at::Tensor a = random_tensor({500, 1500}, 1, at::kBFloat16),
                   b = random_tensor({1500, 300}, 2, at::kBFloat16);
  const at::Tensor c = random_tensor({500, 300}, 3, at::kBFloat16);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = matrix_product(a, {b});
  at::Tensor one_sum = at::zeros({1500, 300}, at::kFloat);
  add_transposed_product(a, c, one_sum);
  at::set_num_threads(3);
  const at::Tensor three = matrix_product(a, {b});
  at::Tensor three_sum = at::zeros({1500, 300}, at::kFloat);
  add_transposed_product(a, c, three_sum);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, three));
  EXPECT_TRUE(at::equal(one_sum, three_sum));
}

TEST(AddTransposedProduct, AddsToWhatIsThere) {
  for (const Sizes& sizes :
       {Sizes{192, 64, 64}, {50, 2500, 80}, {130, 101, 704}, {5, 64, 64}, {64, 64, 20}}) {
    SCOPED_TRACE(::testing::Message() << sizes.rows << " × " << sizes.depth << " × " << sizes.columns);
    const at::Tensor a = random_tensor({sizes.depth, sizes.rows}, 1, at::kBFloat16);
    const at::Tensor b = random_tensor({sizes.depth, sizes.columns}, 2, at::kBFloat16);
    at::Tensor sum = random_tensor({sizes.rows, sizes.columns}, 3, at::kFloat);
    const at::Tensor expected = wide(sum) + at::mm(wide(a).t(), wide(b));
    add_transposed_product(a, b, sum);
    EXPECT_CLOSE(sum, expected, kTolerance);
  }
}

TEST(ProductKernels, RunOnlyWhereTheProcessorHasTheirInstructions) {
  if (cpu::is_supported(cpu::Isa::kAvx512Bf16)) GTEST_SKIP() << "they are here";
  EXPECT_EQ(cpu::product_kernels(), nullptr);
}

}  // namespace
}  // namespace longlora::ops
