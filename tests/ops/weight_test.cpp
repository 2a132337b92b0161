#include "longlora/ops/weight.h"

#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;

TEST(Weight, OfADenseTensorIsThatTensor) {
  const at::Tensor tensor = random_tensor({6, 64}, 1, at::kBFloat16);
  const Weight weight = tensor;
  EXPECT_TRUE(weight.defined());
  EXPECT_TRUE(weight.dense().is_same(tensor));
  EXPECT_TRUE(weight.to_dense().is_same(tensor));
  EXPECT_EQ(weight.num_bytes(), 2 * 6 * 64);
  EXPECT_TRUE(at::equal(weight.rows(2, 5), tensor.slice(0, 2, 5)));
  EXPECT_THROW(weight.nf4(), Error);
}

TEST(Weight, InFourBitsHasTheShapeAndTheDtypeOfItsValuesAndTheirBytes) {
  const Nf4Matrix matrix = quantize_nf4(random_tensor({6, 64}, 1));
  const Weight weight(matrix, at::kBFloat16);
  EXPECT_TRUE(weight.is_nf4());
  EXPECT_EQ(weight.sizes(), (at::IntArrayRef{6, 64}));
  EXPECT_EQ(weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(weight.device(), at::Device(at::kCPU));
  EXPECT_FALSE(weight.is_meta());
  EXPECT_FALSE(weight.requires_grad());
  EXPECT_EQ(weight.num_bytes(), matrix.num_bytes());
  EXPECT_THROW(weight.dense(), Error);
}

TEST(Weight, InFourBitsReadsItsRowsAsItReadsTheWhole) {
  const Nf4Matrix matrix = quantize_nf4(random_tensor({6, 45}, 1));
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Weight weight(matrix, dtype);
    const at::Tensor whole = dequantize_nf4(matrix, dtype);
    EXPECT_TRUE(at::equal(weight.to_dense(), whole));
    EXPECT_TRUE(at::equal(weight.rows(1, 4), whole.slice(0, 1, 4)));
  }
}

TEST(Weight, IsAbsentWhereNothingWasGiven) {
  const Weight weight;
  EXPECT_FALSE(weight.defined());
  EXPECT_FALSE(weight.is_nf4());
  EXPECT_FALSE(weight.dense().defined());
}

TEST(Weight, ComesBackFromAnAutogradNode) {
  const Weight dense = random_tensor({3, 4}, 1),
               quantized(quantize_nf4(random_tensor({6, 64}, 1)), at::kFloat);
  const c10::IValue first = keep_weight(dense), second = keep_weight(quantized);
  EXPECT_TRUE(kept_weight(first).dense().is_same(dense.dense()));
  EXPECT_TRUE(kept_weight(second).nf4().codes.is_same(quantized.nf4().codes));
}

}  // namespace
}  // namespace longlora::ops
