// What the tests over tensors share: random tensors, gradients, and comparisons that say by how much two
// tensors differ.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <vector>

#include "tests/support/data_path.h"

namespace longlora::test {

/// Standard normal numbers, drawn in double and rounded.
inline at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed, at::ScalarType dtype = at::kFloat) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions().dtype(at::kDouble))
      .to(dtype);
}

/// Integers in [0, limit).
inline at::Tensor random_ids(at::IntArrayRef shape, int64_t limit, uint64_t seed) {
  return at::randint(limit, shape, at::detail::createCPUGenerator(seed),
                     at::TensorOptions().dtype(at::kLong));
}

/// Largest |actual − expected| as a share of the largest |expected|; 1 where all expected are zero.
/// Not a number when either tensor holds one.
inline double relative_difference(const at::Tensor& actual, const at::Tensor& expected) {
  if (expected.numel() == 0) return 0.0;
  const at::Tensor wide = expected.detach().to(at::kDouble);
  const double scale = wide.abs().max().item<double>();
  const double difference = (actual.detach().to(at::kDouble) - wide).abs().max().item<double>();
  return difference / (scale > 0.0 ? scale : 1.0);
}

inline ::testing::AssertionResult is_close(const char* actual_text, const char* expected_text, const char*,
                                           const at::Tensor& actual, const at::Tensor& expected,
                                           double tolerance) {
  if (!actual.defined() || !expected.defined())
    return ::testing::AssertionFailure()
           << (actual.defined() ? expected_text : actual_text) << " is undefined";
  if (actual.sizes() != expected.sizes())
    return ::testing::AssertionFailure() << actual_text << " has shape " << actual.sizes() << ", "
                                         << expected_text << " " << expected.sizes();
  const double difference = relative_difference(actual, expected);
  if (difference <= tolerance) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << actual_text << " differs from " << expected_text << " by "
                                       << difference << " of its largest value, more than " << tolerance;
}

/// Fails when two tensors differ by more than `tolerance` times the largest expected value.
#define EXPECT_CLOSE(actual, expected, tolerance) \
  EXPECT_PRED_FORMAT3(::longlora::test::is_close, actual, expected, tolerance)

/// Same shape and the same bits.
inline bool is_identical(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && at::equal(a, b);
}

/// A copy that takes part in autograd.
inline at::Tensor leaf(const at::Tensor& x, at::ScalarType dtype) {
  return x.detach().to(dtype, /*non_blocking=*/false, /*copy=*/true).requires_grad_(true);
}

/// Gradients of sum(output · grad_output).
inline std::vector<at::Tensor> gradients(const at::Tensor& output, const std::vector<at::Tensor>& inputs,
                                         const at::Tensor& grad_output) {
  return torch::autograd::grad({output}, inputs, {grad_output.to(output.scalar_type())});
}

/// Gradient of the number function() by every element of `x`, by central
/// differences. x is a plain float64 tensor that function() reads; it is changed and put back.
template <typename Function>
at::Tensor finite_difference_gradient(const at::Tensor& x, const Function& function, double step = 1e-5) {
  at::Tensor grad = at::empty(x.sizes(), at::kDouble);
  double* element = x.mutable_data_ptr<double>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double value = element[i];
    element[i] = value + step;
    const double above = function();
    element[i] = value - step;
    const double below = function();
    element[i] = value;
    grad.mutable_data_ptr<double>()[i] = (above - below) / (2.0 * step);
  }
  return grad;
}

}  // namespace longlora::test
