#include "longlora/ops/activations.h"
#include "longlora/ops/linear.h"
#include "longlora/ops/norms.h"
#include "longlora/ops/rotate.h"

#include "benchmarks/ops/support.h"

namespace longlora::ops {
namespace {

// A frozen weight [out, in], with a low-rank pair where rank > 0.
LinearOperands operands(int64_t in, int64_t out, int64_t rank) {
  LinearOperands made;
  made.weight = bench::random_tensor({out, in});
  if (rank > 0) {
    made.lora_a = bench::leaf({rank, in});
    made.lora_b = bench::leaf({out, rank});
    made.lora_scale = 2.0;
  }
  return made;
}

void linear_forward_backward(benchmark::State& state) {
  const int64_t tokens = state.range(0), in = state.range(1), out = state.range(2), rank = state.range(3);
  const LinearOperands made = operands(in, out, rank);
  const at::Tensor x = bench::leaf({tokens, in});
  const at::Tensor grad = bench::random_tensor({tokens, out});
  std::vector<at::Tensor> inputs = {x};
  if (rank > 0) inputs.insert(inputs.end(), {made.lora_a, made.lora_b});
  for (auto _ : state) benchmark::DoNotOptimize(torch::autograd::grad({linear(x, made)}, inputs, {grad}));
  bench::report_flops(state, 4.0 * static_cast<double>(tokens * in * out));
}
BENCHMARK(linear_forward_backward)
    ->ArgNames({"N", "in", "out", "R"})
    ->Args({2048, 768, 768, 0})
    ->Args({2048, 768, 768, 8})
    ->Args({2048, 768, 2048, 0})
    ->Args({2048, 2048, 256, 8})
    ->Args({2048, 256, 256, 8})
    ->Unit(benchmark::kMillisecond);

void rms_norm_forward_backward(benchmark::State& state) {
  const at::Tensor x = bench::leaf({state.range(0), state.range(1)}), weight = bench::leaf({state.range(1)});
  const at::Tensor grad = bench::random_tensor(x.sizes());
  for (auto _ : state)
    benchmark::DoNotOptimize(torch::autograd::grad({rms_norm(x, weight, 1e-6)}, {x, weight}, {grad}));
  state.SetBytesProcessed(state.iterations() * x.numel() * 2);
}
BENCHMARK(rms_norm_forward_backward)->Args({2048, 768})->Args({2048, 4096})->Unit(benchmark::kMicrosecond);

void silu_mul_forward_backward(benchmark::State& state) {
  const at::Tensor gate = bench::leaf({state.range(0), state.range(1)}),
                   up = bench::leaf({state.range(0), state.range(1)});
  const at::Tensor grad = bench::random_tensor(gate.sizes());
  for (auto _ : state)
    benchmark::DoNotOptimize(torch::autograd::grad({silu_mul(gate, up)}, {gate, up}, {grad}));
  state.SetBytesProcessed(state.iterations() * gate.numel() * 2);
}
BENCHMARK(silu_mul_forward_backward)->Args({2048, 2048})->Unit(benchmark::kMicrosecond);

void rotate_forward(benchmark::State& state) {
  const at::Tensor x = bench::random_tensor({2048, 12, 64}), positions = at::arange(2048, at::kLong);
  const at::Tensor cos = bench::random_tensor({2048, 32}, at::kFloat), sin = cos.clone();
  for (auto _ : state) benchmark::DoNotOptimize(rotate(x, positions, cos, sin));
  state.SetBytesProcessed(state.iterations() * x.numel() * 2);
}
BENCHMARK(rotate_forward)->Unit(benchmark::kMicrosecond);

// What the machine's matrix products reach: the measure of all other rates.
void matrix_product(benchmark::State& state) {
  const int64_t n = state.range(0);
  const at::Tensor a = bench::random_tensor({n, n}), b = bench::random_tensor({n, n});
  for (auto _ : state) benchmark::DoNotOptimize(at::linear(a, b));
  bench::report_flops(state, 2.0 * static_cast<double>(n * n * n));
}
BENCHMARK(matrix_product)->Arg(2048)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace longlora::ops
