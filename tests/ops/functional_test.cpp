#include "longlora/ops/functional.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "longlora/core/error.h"
#include "longlora/ops/cross_entropy.h"
#include "longlora/ops/embedding.h"
#include "longlora/ops/reference.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::leaf;
using test::random_tensor;
using ::testing::HasSubstr;

/// Rounding of a result to the dtype, and of sums in float32.
double tolerance_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? 3e-6 : 6e-3;
}

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

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

/// The operands of a linear layer; which of them train is a bit set.
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

/// Hidden states, head and labels, every third row without a label.
struct LossCase {
  at::Tensor hidden, weight, labels;

  static LossCase random(int64_t rows, int64_t vocab, at::ScalarType dtype) {
    LossCase result = {random_tensor({rows, 12}, 28, dtype), random_tensor({vocab, 12}, 29, dtype),
                       test::random_ids({rows}, vocab, 30)};
    for (int64_t row = 0; row < rows; row += 3) result.labels[row] = kIgnoreLabel;
    return result;
  }
};

TEST(LinearCrossEntropy, EqualsThePlainVersionInDouble) {
  for (const at::ScalarType dtype : kDtypes)
    for (const int64_t chunk : {0, 1, 7, 100}) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " chunk " << chunk);
      const LossCase inputs = LossCase::random(40, 57, dtype);
      LinearCrossEntropyOptions options;
      options.grad_scale = 0.125;
      options.grad_weight = at::ones({57, 12}, at::kFloat);  // it adds to what is there
      options.chunk_rows = chunk;
      options.want_losses = true;
      const auto result = linear_cross_entropy(inputs.hidden, inputs.weight, inputs.labels, options);

      const at::Tensor hidden = leaf(inputs.hidden, at::kDouble), weight = leaf(inputs.weight, at::kDouble);
      const at::Tensor logits = at::matmul(hidden, weight.t());
      const at::Tensor losses =
          at::cross_entropy_loss(logits, inputs.labels, {}, at::Reduction::None, kIgnoreLabel);
      const auto grads = test::gradients(losses.sum() * 0.125, {hidden, weight}, at::ones({}, at::kDouble));
      const double tolerance = dtype == at::kFloat ? 3e-6 : 1e-2;
      EXPECT_EQ(result.num_labels, 26);
      EXPECT_NEAR(result.loss_sum, losses.sum().item<double>(), tolerance * losses.sum().item<double>());
      EXPECT_CLOSE(result.losses, losses, tolerance * 2);
      EXPECT_CLOSE(result.grad_hidden, grads[0], tolerance);
      EXPECT_CLOSE(options.grad_weight - 1.0, grads[1], tolerance);
      EXPECT_EQ(result.grad_hidden.scalar_type(), dtype);
      const auto correct = logits.argmax(-1).eq(inputs.labels).sum().item<int64_t>();
      if (dtype == at::kFloat) {
        EXPECT_EQ(result.num_correct, correct);
      }
    }
}

TEST(LinearCrossEntropy, SkipsRowsWithoutALabel) {
  LossCase inputs = LossCase::random(20, 11, at::kFloat);
  const auto keep = inputs.labels.ne(kIgnoreLabel).nonzero().squeeze(1);
  const LinearCrossEntropyOptions options = {.grad_scale = 1.0, .grad_weight = {}, .want_losses = true};
  const auto all = linear_cross_entropy(inputs.hidden, inputs.weight, inputs.labels, options);
  // What stands in such a row has no influence, not even if it is not a number.
  inputs.hidden[3].fill_(NAN);
  const auto damaged = linear_cross_entropy(inputs.hidden, inputs.weight, inputs.labels, options);
  EXPECT_EQ(all.loss_sum, damaged.loss_sum);
  EXPECT_EQ(all.grad_hidden[3].abs().sum().item<double>(), 0.0);
  EXPECT_EQ(all.losses[3].item<double>(), 0.0);
  const auto kept = linear_cross_entropy(inputs.hidden.index_select(0, keep), inputs.weight,
                                         inputs.labels.index_select(0, keep), options);
  EXPECT_NEAR(all.loss_sum, kept.loss_sum, 1e-9);
}

TEST(LinearCrossEntropy, GivesZeroWhereNothingIsSupervised) {
  const LossCase inputs = LossCase::random(5, 11, at::kFloat);
  const auto result =
      linear_cross_entropy(inputs.hidden, inputs.weight, at::full({5}, kIgnoreLabel, at::kLong),
                           {.grad_scale = 1.0, .grad_weight = {}});
  EXPECT_EQ(result.num_labels, 0);
  EXPECT_EQ(result.loss_sum, 0.0);
  EXPECT_EQ(result.grad_hidden.abs().sum().item<double>(), 0.0);
}

TEST(LinearCrossEntropy, CountsTheFirstOfEqualLogitsAsTheAnswer) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor hidden = at::ones({3, 1}, dtype);
    const at::Tensor weight = at::zeros({6, 1}, dtype);
    weight[2].fill_(1.0);
    weight[4].fill_(1.0);
    const at::Tensor labels = at::empty({3}, at::kLong);
    for (int64_t row = 0; row < 3; ++row) labels[row] = row * 2;  // 0, 2, 4
    EXPECT_EQ(linear_cross_entropy(hidden, weight, labels, {}).num_correct, 1) << c10::toString(dtype);
  }
}

TEST(LinearCrossEntropy, RunsThePlainVersionForOtherDtypes) {
  const LossCase inputs = LossCase::random(9, 13, at::kFloat);
  const LinearCrossEntropyOptions options = {.grad_scale = 0.5, .grad_weight = {}};
  const auto fast = linear_cross_entropy(inputs.hidden, inputs.weight, inputs.labels, options);
  const auto plain = linear_cross_entropy(inputs.hidden.to(at::kDouble), inputs.weight.to(at::kDouble),
                                          inputs.labels, options);
  EXPECT_NEAR(fast.loss_sum, plain.loss_sum, 1e-5 * plain.loss_sum);
  EXPECT_CLOSE(fast.grad_hidden, plain.grad_hidden, 1e-5);
}

TEST(LinearCrossEntropy, RefusesLabelsBeyondTheVocabulary) {
  const LossCase inputs = LossCase::random(4, 11, at::kFloat);
  for (const int64_t label : {int64_t{11}, int64_t{-1}}) {
    try {
      linear_cross_entropy(inputs.hidden, inputs.weight, at::full({4}, label, at::kLong), {});
      ADD_FAILURE() << "accepted " << label;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("expected labels in [0, 11), got " + std::to_string(label)));
    }
  }
  EXPECT_THROW(linear_cross_entropy(inputs.hidden, inputs.weight, at::zeros({3}, at::kLong), {}), Error);
}

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
