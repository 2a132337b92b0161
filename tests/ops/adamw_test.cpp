#include "longlora/ops/adamw.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "longlora/ops/backend.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;

constexpr int64_t kElements = 200001;  // several tasks, and a vector that is not whole

const AdamWStep kStep = {.learning_rate = 0.01f,
                         .beta1 = 0.9f,
                         .beta2 = 0.99f,
                         .epsilon = 1e-8f,
                         .weight_decay = 0.1f,
                         .grad_scale = 0.5f,
                         .one_minus_beta1 = 0.1f,
                         .one_minus_beta2 = 0.01f,
                         .bias_correction1 = 0.19f,
                         .sqrt_bias_correction2 = 0.141f};

struct State {
  at::Tensor parameter = random_tensor({kElements}, 1), grad = random_tensor({kElements}, 2),
             exp_avg = random_tensor({kElements}, 3), exp_avg_sq = random_tensor({kElements}, 4).square();
};

TEST(AdamW, IsItsFormulaOnBothBackends) {
  const State before;
  const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble); };
  const at::Tensor g = wide(before.grad) * 0.5;
  const at::Tensor m = 0.9 * wide(before.exp_avg) + 0.1 * g,
                   v = 0.99 * wide(before.exp_avg_sq) + 0.01 * g * g;
  const at::Tensor p =
      wide(before.parameter) * (1.0 - 0.01 * 0.1) - 0.01 / 0.19 * m / (v.sqrt() / 0.141 + 1e-8);
  for (const Backend* backend : {&cpu_backend(), &composed_backend()}) {
    const State state;
    backend->adamw(state.parameter, state.grad, state.exp_avg, state.exp_avg_sq, kStep);
    EXPECT_CLOSE(state.exp_avg, m, 1e-6);
    EXPECT_CLOSE(state.exp_avg_sq, v, 1e-6);
    EXPECT_CLOSE(state.parameter, p, 1e-6);
  }
}

TEST(AdamW, ComputesElementsInMemoryAsItComputesTensors) {
  const State whole, parts;
  adamw(whole.parameter, whole.grad, whole.exp_avg, whole.exp_avg_sq, kStep);
  const auto data = [](const at::Tensor& x) { return x.mutable_data_ptr<float>(); };
  constexpr int64_t kMiddle = 1237;
  for (const auto& [begin, end] : {std::pair{int64_t{0}, kMiddle}, {kMiddle, kElements}})
    adamw(data(parts.parameter) + begin, data(parts.grad) + begin, data(parts.exp_avg) + begin,
          data(parts.exp_avg_sq) + begin, end - begin, kStep);
  EXPECT_CLOSE(parts.parameter, whole.parameter, 1e-7);
}

TEST(SumOfSquares, IsTheSumInFloat64WhateverTheNumberOfThreads) {
  const at::Tensor x = random_tensor({kElements}, 5);
  const double expected = x.to(at::kDouble).square().sum().item<double>();
  const int threads = at::get_num_threads();
  for (const Backend* backend : {&cpu_backend(), &composed_backend()})
    EXPECT_NEAR(backend->sum_of_squares(x, 1 << 16).item<double>(), expected, 1e-9 * expected);
  at::set_num_threads(1);
  const double one = sum_of_squares(x, 100).item<double>();
  at::set_num_threads(3);
  EXPECT_EQ(sum_of_squares(x, 100).item<double>(), one);
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace longlora::ops
