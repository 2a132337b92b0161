// Dropout and magnitudes of low-rank pairs.
#include "longlora/ops/adapter_linear.h"

#include <cmath>
#include <vector>

#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;

constexpr int64_t kRows = 9, kIn = 11, kOut = 7, kRank = 3;

// Operands of a layer with a bias; a known norm, so that it is a constant to finite differences too.
LinearOperands some_operands(at::ScalarType dtype, const Dropout& mask, bool scales) {
  LinearOperands operands;
  operands.weight = random_tensor({kOut, kIn}, 1, dtype);
  operands.bias = random_tensor({kOut}, 2, dtype);
  operands.lora_a = random_tensor({kRank, kIn}, 3, dtype);
  operands.lora_b = random_tensor({kOut, kRank}, 4, dtype);
  operands.lora_scale = 0.5;
  operands.dropout = mask;
  if (!scales) return operands;
  const at::ScalarType wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
  operands.magnitude = random_tensor({kOut}, 5, wide).add(3.0);
  operands.weight_norm = adapted_weight_norm(operands);
  return operands;
}

struct Case {
  const char* name;
  Dropout mask;
  bool scales;
};
const Case kCases[] = {
    {"dropout", {0.3, 17, 0}, false}, {"magnitude", {}, true}, {"both", {0.3, 17, 5}, true}};

at::Tensor expected(const at::Tensor& x, const LinearOperands& o) {
  const at::Tensor dropped = o.dropout.probability > 0.0 ? dropout(x, o.dropout) : x;
  const at::Tensor update = at::linear(at::linear(dropped, o.lora_a), o.lora_b) * o.lora_scale;
  const at::Tensor& weight = o.weight.dense();
  if (!o.magnitude.defined()) return at::linear(x, weight, o.bias) + update;
  const at::Tensor m = o.magnitude / (weight + at::mm(o.lora_b, o.lora_a) * o.lora_scale).norm(2, {1}, false);
  return at::linear(x - dropped, weight, o.bias) + (at::linear(dropped, weight) + update) * m;
}

TEST(AdapterLinear, IsItsFormula) {
  const at::Tensor x = random_tensor({kRows, kIn}, 6, at::kDouble);
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    LinearOperands operands = some_operands(at::kDouble, c.mask, c.scales);
    EXPECT_CLOSE(linear(x, operands), expected(x, operands), 1e-12);
    operands.weight_norm = at::Tensor();  // found by the op itself
    EXPECT_CLOSE(linear(x, operands), expected(x, operands), 1e-12);
    operands.bias = at::Tensor();
    const at::Tensor without_bias = expected(x, some_operands(at::kDouble, c.mask, c.scales)) -
                                    some_operands(at::kDouble, c.mask, c.scales).bias;
    EXPECT_CLOSE(linear(x, operands), without_bias, 1e-12);
  }
}

TEST(AdapterLinear, HasTheGradientsOfFiniteDifferences) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const at::Tensor x = random_tensor({kRows, kIn}, 6, at::kDouble);
    const LinearOperands plain = some_operands(at::kDouble, c.mask, c.scales);
    const at::Tensor grad_y = random_tensor({kRows, kOut}, 7, at::kDouble);
    const at::Tensor leaf_x = test::leaf(x, at::kDouble);
    LinearOperands leaves = plain;
    leaves.weight = test::leaf(plain.weight.dense(), at::kDouble);
    for (at::Tensor* operand : {&leaves.bias, &leaves.lora_a, &leaves.lora_b, &leaves.magnitude})
      if (operand->defined()) *operand = test::leaf(*operand, at::kDouble);
    std::vector<at::Tensor> inputs = {leaf_x, leaves.weight.dense(), leaves.bias, leaves.lora_a,
                                      leaves.lora_b};
    std::vector<at::Tensor> numbers = {x, plain.weight.dense(), plain.bias, plain.lora_a, plain.lora_b};
    if (c.scales) {
      inputs.push_back(leaves.magnitude);
      numbers.push_back(plain.magnitude);
    }
    const auto grads = test::gradients(linear(leaf_x, leaves), inputs, grad_y);
    const auto value = [&] { return (linear(x, plain) * grad_y).sum().item<double>(); };
    for (size_t i = 0; i < numbers.size(); ++i) {
      SCOPED_TRACE(i);
      EXPECT_CLOSE(grads[i], test::finite_difference_gradient(numbers[i], value), 1e-7);
    }
  }
}

TEST(AdapterLinear, OfAWeightInFourBitsIsThatOfItsValues) {
  constexpr int64_t kWide = 128;
  const at::Tensor x = random_tensor({kRows, kWide}, 6), grad_y = random_tensor({kRows, kOut}, 7);
  const Weight matrix(quantize_nf4(random_tensor({kOut, kWide}, 1)), at::kFloat);
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const auto results = [&](bool in_four_bits) {
      LinearOperands operands = some_operands(at::kFloat, c.mask, c.scales);
      operands.weight = in_four_bits ? matrix : Weight(dequantize_nf4(matrix.nf4(), at::kFloat));
      operands.lora_a = random_tensor({kRank, kWide}, 3);
      operands.weight_norm = at::Tensor();
      const at::Tensor leaf_x = test::leaf(x, at::kFloat);
      std::vector<at::Tensor> inputs = {leaf_x};
      for (at::Tensor* operand : {&operands.lora_a, &operands.lora_b, &operands.magnitude})
        if (operand->defined()) inputs.push_back(*operand = test::leaf(*operand, at::kFloat));
      const at::Tensor y = linear(leaf_x, operands);
      std::vector<at::Tensor> found = test::gradients(y, inputs, grad_y);
      found.push_back(y.detach());
      return found;
    };
    const auto found = results(true), wanted = results(false);
    for (size_t i = 0; i < wanted.size(); ++i) EXPECT_CLOSE(found[i], wanted[i], 1e-5);
  }
}

TEST(AdapterLinear, MakesNoGradientOfFrozenOperands) {
  const LinearOperands operands = some_operands(at::kFloat, {0.3, 17, 0}, true);
  const at::Tensor x = test::leaf(random_tensor({kRows, kIn}, 6), at::kFloat);
  const auto grads = test::gradients(linear(x, operands), {x}, random_tensor({kRows, kOut}, 7));
  EXPECT_TRUE(grads[0].defined());
}

TEST(AdapterLinear, InBfloat16IsNearFloat32) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const LinearOperands narrow = some_operands(at::kBFloat16, c.mask, c.scales);
    LinearOperands wide = narrow;
    wide.weight = narrow.weight.dense().to(at::kFloat);
    for (at::Tensor* operand : {&wide.bias, &wide.lora_a, &wide.lora_b}) *operand = operand->to(at::kFloat);
    const at::Tensor x = random_tensor({kRows, kIn}, 6, at::kBFloat16);
    const at::Tensor y = linear(x, narrow);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_CLOSE(y, linear(x.to(at::kFloat), wide), 0.02);
  }
}

TEST(AdaptedWeightNorm, IsThatOfTheSum) {
  const at::Tensor weight = random_tensor({600, 1000}, 1), a = random_tensor({4, 1000}, 2),
                   b = random_tensor({600, 4}, 3);
  EXPECT_CLOSE(adapted_weight_norm({.weight = weight, .lora_a = a, .lora_b = b, .lora_scale = 0.7}),
               (weight + at::mm(b, a) * 0.7).norm(2, {1}, false), 1e-6);
}

TEST(DropoutMask, IsThatOfTheRowsWhereverTheyAreCut) {
  const at::Tensor x = random_tensor({300, 37}, 1);
  const Dropout whole = {0.4, 99, 1000};
  const at::Tensor y = dropout(x, whole);
  for (const int64_t step : {1, 7, 128}) {
    std::vector<at::Tensor> parts;
    for (int64_t begin = 0; begin < 300; begin += step)
      parts.push_back(
          dropout(x.slice(0, begin, std::min<int64_t>(300, begin + step)), {0.4, 99, 1000 + begin}));
    EXPECT_TRUE(at::equal(at::cat(parts), y)) << step;
  }
  EXPECT_FALSE(at::equal(dropout(x, {0.4, 98, 1000}), y));
}

TEST(DropoutMask, LeavesOutItsShareWithoutAPattern) {
  const at::Tensor ones = at::ones({2000, 501});
  for (const double probability : {0.05, 0.5, 0.9}) {
    SCOPED_TRACE(probability);
    const at::Tensor y = dropout(ones, {probability, 3, 0});
    const at::Tensor kept = y.ne(0.0).to(at::kDouble);
    const double stays = 1.0 - probability, count = 2000.0 * 501.0;
    // Within five standard deviations: the whole, every row and column, neighbours, and two keys.
    const auto near = [&](const at::Tensor& mean, double expected, double samples) {
      const double deviation = std::sqrt(expected * (1.0 - expected) / samples);
      return mean.sub(expected).abs().max().item<double>() < 5.0 * deviation;
    };
    EXPECT_TRUE(near(kept.mean(), stays, count));
    EXPECT_TRUE(near(kept.mean({0}), stays, 2000.0));
    EXPECT_TRUE(near(kept.mean({1}), stays, 501.0));
    EXPECT_TRUE(near((kept.slice(1, 1) * kept.slice(1, 0, 500)).mean(), stays * stays, 2000.0 * 500.0));
    EXPECT_TRUE(near((kept.slice(0, 1) * kept.slice(0, 0, 1999)).mean(), stays * stays, 1999.0 * 501.0));
    EXPECT_TRUE(near((kept * dropout(ones, {probability, 4, 0}).ne(0.0)).mean(), stays * stays, count));
    // What stays makes up for what goes.
    EXPECT_NEAR(y.max().item<double>(), 1.0 / stays, 1e-3 / stays);
  }
  EXPECT_TRUE(at::equal(dropout(ones, {0.0, 3, 0}), ones));
}

}  // namespace
}  // namespace longlora::ops
