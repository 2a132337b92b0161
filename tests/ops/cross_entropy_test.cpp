#include "longlora/ops/cross_entropy.h"

#include <cmath>

#include "longlora/core/error.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::leaf;
using test::random_tensor;
using ::testing::HasSubstr;

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

// Hidden states, head and labels, every third row without a label.
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

}  // namespace
}  // namespace longlora::ops
