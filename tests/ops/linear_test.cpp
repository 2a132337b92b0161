#include "longlora/ops/linear.h"

#include "longlora/core/error.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::leaf;
using test::random_tensor;

// The operands of a linear layer; which of them train is a bit set.
struct LinearCase {
  at::Tensor x, weight, bias, lora_a, lora_b;

  static LinearCase random(bool with_bias, bool with_lora, at::ScalarType dtype) {
    LinearCase all;
    all.x = random_tensor({13, 6}, 21, dtype);
    all.weight = random_tensor({9, 6}, 22, dtype);
    if (with_bias) all.bias = random_tensor({9}, 23, dtype);
    if (with_lora) {
      all.lora_a = random_tensor({4, 6}, 24, dtype);
      all.lora_b = random_tensor({9, 4}, 25, dtype);
    }
    return all;
  }
  LinearCase leaves(int trained, at::ScalarType dtype) const {
    LinearCase result = *this;
    int bit = 0;
    for (at::Tensor* operand : {&result.x, &result.weight, &result.bias, &result.lora_a, &result.lora_b}) {
      if (operand->defined()) *operand = leaf(*operand, dtype).requires_grad_((trained >> bit) & 1);
      ++bit;
    }
    return result;
  }
  std::vector<at::Tensor> trained() const {
    std::vector<at::Tensor> result;
    for (const at::Tensor* operand : {&x, &weight, &bias, &lora_a, &lora_b})
      if (operand->defined() && operand->requires_grad()) result.push_back(*operand);
    return result;
  }
  at::Tensor run() const {
    LinearOperands operands;
    operands.weight = weight;
    operands.bias = bias;
    operands.lora_a = lora_a;
    operands.lora_b = lora_b;
    operands.lora_scale = 0.75;
    return linear(x, operands);
  }
  at::Tensor run_plain() const {
    at::Tensor y = at::matmul(x, weight.t());
    if (bias.defined()) y = y + bias;
    if (lora_a.defined()) y = y + 0.75 * at::matmul(at::matmul(x, lora_a.t()), lora_b.t());
    return y;
  }
};

TEST(Linear, EqualsThePlainVersionWhateverTrains) {
  const at::Tensor grad = random_tensor({13, 9}, 26);
  for (const bool with_bias : {false, true})
    for (const bool with_lora : {false, true}) {
      const LinearCase operands = LinearCase::random(with_bias, with_lora, at::kFloat);
      for (int trained = 0; trained < 32; ++trained) {
        SCOPED_TRACE(::testing::Message()
                     << "bias " << with_bias << ", low rank " << with_lora << ", trained " << trained);
        const LinearCase actual = operands.leaves(trained, at::kFloat),
                         expected = operands.leaves(trained, at::kDouble);
        const at::Tensor y = actual.run(), expected_y = expected.run_plain();
        EXPECT_CLOSE(y, expected_y, 1e-6);
        EXPECT_EQ(y.requires_grad(), !actual.trained().empty());
        if (actual.trained().empty()) continue;
        const auto grads = test::gradients(y, actual.trained(), grad);
        const auto expected_grads = test::gradients(expected_y, expected.trained(), grad);
        for (size_t i = 0; i < grads.size(); ++i) EXPECT_CLOSE(grads[i], expected_grads[i], 2e-6);
      }
    }
}

TEST(Linear, WorksInBfloat16) {
  const LinearCase operands = LinearCase::random(true, true, at::kBFloat16);
  const at::Tensor grad = random_tensor({13, 9}, 27, at::kBFloat16);
  const LinearCase actual = operands.leaves(31, at::kBFloat16), expected = operands.leaves(31, at::kDouble);
  const at::Tensor y = actual.run(), expected_y = expected.run_plain();
  EXPECT_CLOSE(y, expected_y, 1e-2);
  const auto grads = test::gradients(y, actual.trained(), grad);
  const auto expected_grads = test::gradients(expected_y, expected.trained(), grad);
  for (size_t i = 0; i < grads.size(); ++i) EXPECT_CLOSE(grads[i], expected_grads[i], 2e-2);
}

TEST(Linear, RefusesAnInputOfAnotherWidth) {
  LinearOperands operands;
  operands.weight = random_tensor({4, 6}, 2);
  EXPECT_THROW(linear(random_tensor({3, 5}, 1), operands), Error);
}

}  // namespace
}  // namespace longlora::ops
