// What the benchmarks of ops share: inputs, and rates as counters.
#pragma once

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

namespace longlora::bench {

/// Standard normal numbers in the dtype that the fast paths are made for.
inline at::Tensor random_tensor(at::IntArrayRef shape, at::ScalarType dtype = at::kBFloat16) {
  return at::randn(shape, at::kFloat).mul_(0.5).to(dtype);
}

inline at::Tensor leaf(at::IntArrayRef shape, at::ScalarType dtype = at::kBFloat16) {
  return random_tensor(shape, dtype).requires_grad_(true);
}

/// Floating point operations of one iteration, reported as a rate.
inline void report_flops(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate,
                                                benchmark::Counter::OneK::kIs1000);
}

}  // namespace longlora::bench
