// Every op on libtorch's operators against the CPU kernels, forward and backward.
#include "longlora/ops/activations.h"
#include "longlora/ops/attention.h"
#include "longlora/ops/attention_backend.h"
#include "longlora/ops/attention_paths.h"
#include "longlora/ops/cross_entropy.h"
#include "longlora/ops/embedding.h"
#include "longlora/ops/linear.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/ops/norms.h"
#include "longlora/ops/rotate.h"
#include "tests/support/device.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;
using Tensors = std::vector<at::Tensor>;

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

// Tolerances as shares of the largest value. float32: other orders of summation, the GPU's exponentials.
// bfloat16: 8 bits, rounded at other places on the way.
struct Tolerance {
  double float32, bfloat16;
  double of(at::ScalarType dtype) const { return dtype == at::kFloat ? float32 : bfloat16; }
};
constexpr Tolerance kElementwise = {1e-5, 1.6e-2};
constexpr Tolerance kNorm = {1e-5, 1.6e-2};
constexpr Tolerance kProduct = {2e-5, 2e-2};
constexpr Tolerance kAttention = {2e-5, 3e-2};
constexpr Tolerance kLoss = {2e-5, 2e-2};

class DeviceOps : public test::DeviceTest {
 protected:
  // What `op` gives for `inputs` and the gradients of those that are floating point, both ways.
  template <typename Op>
  void expect_same(const Tensors& inputs, const Op& op, double tolerance) const {
    const at::Tensor shape = op(inputs);
    const at::Tensor grad = random_tensor(shape.sizes(), 99, shape.scalar_type());
    const Tensors expected = results(inputs, op, grad);
    Tensors moved;
    for (const at::Tensor& input : inputs) moved.push_back(input.to(device()));
    const Tensors actual = compute([&] { return results(moved, op, grad.to(device())); });
    for (size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(i == 0 ? std::string("result") : "gradient " + std::to_string(i));
      EXPECT_EQ(actual[i].device(), device());
      EXPECT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
      EXPECT_CLOSE(actual[i].cpu(), expected[i], tolerance);
    }
  }

 private:
  template <typename Op>
  static Tensors results(const Tensors& inputs, const Op& op, const at::Tensor& grad) {
    Tensors operands, leaves;
    for (const at::Tensor& input : inputs) {
      const bool differentiable = at::isFloatingType(input.scalar_type());
      operands.push_back(differentiable ? test::leaf(input, input.scalar_type()) : input);
      if (differentiable) leaves.push_back(operands.back());
    }
    const at::Tensor result = op(operands);
    Tensors all = {result.detach()};
    for (const at::Tensor& found : torch::autograd::grad({result}, leaves, {grad}, std::nullopt, false, true))
      if (found.defined()) all.push_back(found);
    return all;
  }
};

TEST_F(DeviceOps, NormsEqualTheKernels) {
  for (const at::ScalarType dtype : kDtypes) {
    const Tensors x = {random_tensor({37, 96}, 1, dtype), random_tensor({96}, 2, dtype),
                       random_tensor({96}, 3, dtype)};
    expect_same(
        {x[0], x[1]}, [](const Tensors& t) { return rms_norm(t[0], t[1], 1e-5); }, kNorm.of(dtype));
    expect_same(
        x, [](const Tensors& t) { return layer_norm(t[0], t[1], t[2], 1e-5); }, kNorm.of(dtype));
  }
}

TEST_F(DeviceOps, RotationEqualsTheKernels) {
  const at::Tensor angles = random_tensor({64, 8}, 4), positions = test::random_ids({37}, 64, 5);
  for (const at::ScalarType dtype : kDtypes)
    for (const int64_t head_size : {16, 20}) {  // the last four of 20 pass through
      // Heads of a fused projection: strided.
      const auto rotation = [&](const Tensors& t) {
        return rotate(t[0].slice(1, 1, 4), t[1], angles.cos().to(t[0].device()),
                      angles.sin().to(t[0].device()));
      };
      expect_same({random_tensor({37, 6, head_size}, 6, dtype), positions}, rotation, kElementwise.of(dtype));
    }
}

TEST_F(DeviceOps, ActivationsEqualTheKernels) {
  for (const at::ScalarType dtype : kDtypes) {
    const Tensors x = {random_tensor({37, 50}, 7, dtype), random_tensor({37, 50}, 8, dtype)};
    expect_same(
        x, [](const Tensors& t) { return silu_mul(t[0], t[1]); }, kElementwise.of(dtype));
    // Halves of a fused projection: strided.
    expect_same(
        {x[0]}, [](const Tensors& t) { return silu_mul(t[0].slice(1, 0, 25), t[0].slice(1, 25)); },
        kElementwise.of(dtype));
    for (const GeluForm form : {GeluForm::kExact, GeluForm::kTanh})
      expect_same(
          {x[0]}, [&](const Tensors& t) { return gelu(t[0], form); }, kElementwise.of(dtype));
  }
}

TEST_F(DeviceOps, LinearLayersEqualTheKernels) {
  for (const at::ScalarType dtype : kDtypes)
    for (const int64_t rows : {1, 5, 200}) {
      const Tensors x = {random_tensor({rows, 64}, 10, dtype), random_tensor({96, 64}, 11, dtype),
                         random_tensor({96}, 12, dtype), random_tensor({8, 64}, 13, dtype),
                         random_tensor({96, 8}, 14, dtype)};
      SCOPED_TRACE(rows);
      expect_same(
          {x[0], x[1]},
          [](const Tensors& t) {
            return linear(t[0], {t[1], {}, {}, {}, 0.0});
          },
          kProduct.of(dtype));
      expect_same(
          x,
          [](const Tensors& t) {
            return linear(t[0], {t[1], t[2], t[3], t[4], 2.0});
          },
          kProduct.of(dtype));
    }
}

TEST_F(DeviceOps, LayersInFourBitsEqualTheKernels) {
  const Nf4Matrix nested = quantize_nf4(random_tensor({96, 128}, 11));
  const Nf4Matrix odd = quantize_nf4(random_tensor({33, 45}, 12), {.block_size = 64, .double_quant = false});
  for (const at::ScalarType dtype : kDtypes)
    for (const Nf4Matrix* matrix : {&nested, &odd}) {
      const Tensors x = {random_tensor({40, matrix->columns}, 13, dtype),
                         random_tensor({8, matrix->columns}, 14, dtype),
                         random_tensor({matrix->rows, 8}, 15, dtype)};
      expect_same(
          x,
          [&](const Tensors& t) {
            LinearOperands operands = {.weight = Weight(on_device(*matrix, t[0].device()), dtype),
                                       .lora_a = t[1],
                                       .lora_b = t[2],
                                       .lora_scale = 2.0};
            return linear(t[0], operands);
          },
          kProduct.of(dtype));
      const at::Tensor whole = compute([&] { return dequantize_nf4(on_device(*matrix, device()), dtype); });
      EXPECT_TRUE(whole.cpu().equal(dequantize_nf4(*matrix, dtype)));
    }
}

TEST_F(DeviceOps, TheLossAndItsGradientsEqualTheKernels) {
  for (const at::ScalarType dtype : kDtypes)
    for (const int64_t chunk : {0, 7}) {
      const at::Tensor hidden = random_tensor({40, 24}, 20, dtype),
                       weight = random_tensor({57, 24}, 21, dtype);
      at::Tensor labels = test::random_ids({40}, 57, 22);
      for (int64_t row = 0; row < 40; row += 3) labels[row] = kIgnoreLabel;
      const auto loss_on = [&](at::Device where) {
        LinearCrossEntropyOptions options;
        options.grad_scale = 0.125;
        options.chunk_rows = chunk;
        options.want_losses = true;
        options.grad_weight = at::ones({57, 24}, at::TensorOptions(at::kFloat).device(where));
        auto result = linear_cross_entropy(hidden.to(where), weight.to(where), labels.to(where), options);
        return std::pair(std::move(result), options.grad_weight);
      };
      const auto [expected, expected_grad] = loss_on(at::kCPU);
      const auto [actual, actual_grad] = compute([&] { return loss_on(device()); });
      EXPECT_EQ(actual.num_labels, expected.num_labels);
      EXPECT_NEAR(actual.num_correct, expected.num_correct, dtype == at::kFloat ? 0 : 1);
      EXPECT_NEAR(actual.loss_sum, expected.loss_sum, kLoss.of(dtype) * expected.loss_sum);
      EXPECT_CLOSE(actual.losses.cpu(), expected.losses, kLoss.of(dtype));
      EXPECT_CLOSE(actual.grad_hidden.cpu(), expected.grad_hidden, kLoss.of(dtype));
      EXPECT_CLOSE(actual_grad.cpu(), expected_grad, kLoss.of(dtype));
    }
}

TEST_F(DeviceOps, TheEmbeddingsGradientEqualsTheKernels) {
  const at::Tensor ids = test::random_ids({90}, 13, 30);
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor grad = random_tensor({90, 12}, 31, dtype);
    const auto sum_on = [&](at::Device where) {
      at::Tensor sum = at::ones({13, 12}, at::TensorOptions(at::kFloat).device(where));
      add_embedding_gradient(grad.to(where), ids.to(where), sum);
      return sum;
    };
    EXPECT_CLOSE(compute([&] { return sum_on(device()); }).cpu(), sum_on(at::kCPU), 1e-6);
  }
}

TEST_F(DeviceOps, MatrixProductsEqualTheKernels) {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor a = random_tensor({130, 64}, 40, dtype), b = random_tensor({128, 64}, 41, dtype);
    const at::Tensor c = random_tensor({130, 128}, 42, dtype);
    const auto sum_on = [&](at::Device where) {
      at::Tensor sum = at::ones({64, 128}, at::TensorOptions(at::kFloat).device(where));
      add_transposed_product(a.to(where), c.to(where), sum);
      return sum;
    };
    EXPECT_CLOSE(compute([&] {
                   return matrix_product(a.to(device()), {b.to(device()), true});
                 }).cpu(),
                 matrix_product(a, {b, true}), kProduct.of(dtype));
    EXPECT_CLOSE(compute([&] { return sum_on(device()); }).cpu(), sum_on(at::kCPU), kProduct.of(dtype));
  }
}

// Sizes of one attention problem.
struct Sizes {
  int64_t heads, kv_heads, head_size, group;
  std::vector<int64_t> documents = {};
  int64_t window = 0;
};

TEST_F(DeviceOps, AttentionEqualsTheKernels) {
  constexpr int64_t kTokens = 300;
  for (const Sizes& sizes :
       {Sizes{4, 4, 64, 0}, Sizes{4, 4, 64, 64}, Sizes{8, 2, 128, 100}, Sizes{6, 3, 32, 64},
        Sizes{4, 1, 80, 64}, Sizes{4, 2, 20, 64}, Sizes{2, 2, 256, 64}, Sizes{4, 2, 64, 64, {7, 8, 150}},
        Sizes{4, 2, 64, 0, {}, 50}, Sizes{4, 2, 64, 3}, Sizes{1, 1, 64, 64}})
    for (const at::ScalarType dtype : kDtypes) {
      SCOPED_TRACE(::testing::Message()
                   << sizes.heads << "/" << sizes.kv_heads << " heads of " << sizes.head_size << ", group "
                   << sizes.group << ", window " << sizes.window << " " << c10::toString(dtype));
      SegmentPlanOptions options = {.row_tokens = kTokens, .group_tokens = sizes.group};
      options.document_starts = sizes.documents;
      options.window_tokens = sizes.window;
      const AttentionPlan plan = make_segment_plan(options);
      expect_same(
          {random_tensor({kTokens, sizes.heads, sizes.head_size}, 50, dtype),
           random_tensor({kTokens, sizes.kv_heads, sizes.head_size}, 51, dtype),
           random_tensor({kTokens, sizes.kv_heads, sizes.head_size}, 52, dtype)},
          [&](const Tensors& t) { return attention(t[0], t[1], t[2], plan); }, kAttention.of(dtype));
    }
}

TEST_F(DeviceOps, AttentionGoesOnFromWhatItKept) {
  const AttentionPlan plan = make_segment_plan({.row_tokens = 200, .group_tokens = 64});
  const Tensors inputs = {random_tensor({200, 4, 64}, 60, at::kBFloat16),
                          random_tensor({200, 2, 64}, 61, at::kBFloat16),
                          random_tensor({200, 2, 64}, 62, at::kBFloat16)};
  expect_same(
      inputs,
      [&](const Tensors& t) {
        KeptAttention kept;
        attention(t[0].detach(), t[1].detach(), t[2].detach(), plan, &kept);
        return attention(t[0], t[1], t[2], plan, &kept);
      },
      kAttention.bfloat16);
}

TEST_F(DeviceOps, TheLastQueriesOfRowsEqualTheKernels) {
  const at::Tensor k = random_tensor({2 * 150, 2, 64}, 71, at::kBFloat16),
                   v = random_tensor({2 * 150, 2, 64}, 72, at::kBFloat16);
  for (const int64_t count : {1, 64})
    for (const int64_t window : {0, 20}) {
      const AttentionPlan plan =
          last_tokens(make_segment_plan({.num_rows = 2, .row_tokens = 150, .window_tokens = window}), count);
      const at::Tensor q = random_tensor({2 * count, 4, 64}, 70, at::kBFloat16);
      const at::Tensor actual =
          compute([&] { return attention(q.to(device()), k.to(device()), v.to(device()), plan); });
      EXPECT_CLOSE(actual.cpu(), attention(q, k, v, plan), kAttention.bfloat16);
    }
}

}  // namespace
}  // namespace longlora::ops
