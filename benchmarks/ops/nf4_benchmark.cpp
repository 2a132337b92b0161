// Products with a weight in four bits, beside the same with the weight in bfloat16.
#include "benchmarks/ops/support.h"
#include "longlora/ops/matrix_product.h"

namespace longlora::ops {
namespace {

// M rows of activations, a weight [N, K].
void product(benchmark::State& state, bool quantized, bool transposed) {
  const int64_t rows = state.range(0), depth = state.range(1), columns = state.range(2);
  const at::Tensor weight = bench::random_tensor({columns, depth});
  RightOperand right = {weight, transposed};
  if (quantized) right = {Weight(quantize_nf4(weight), weight.scalar_type()), transposed};
  const at::Tensor a = bench::random_tensor({rows, transposed ? depth : columns});
  for (auto _ : state) benchmark::DoNotOptimize(matrix_product(a, right));
  bench::report_flops(state, 2.0 * static_cast<double>(rows * depth * columns));
}

void quantize(benchmark::State& state) {
  const at::Tensor weight = bench::random_tensor({4096, 4096});
  for (auto _ : state) benchmark::DoNotOptimize(quantize_nf4(weight));
  state.SetItemsProcessed(state.iterations() * weight.numel());
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"M", "K", "N"})->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const int64_t rows : {1, 4, 16, 64, 512, 4096}) {
    benchmark->Args({rows, 4096, 4096});
    benchmark->Args({rows, 4096, 11008});
  }
}

BENCHMARK_CAPTURE(product, nf4, true, true)->Apply(shapes);
BENCHMARK_CAPTURE(product, bfloat16, false, true)->Apply(shapes);
BENCHMARK_CAPTURE(product, nf4_input_gradient, true, false)->Apply(shapes);
BENCHMARK_CAPTURE(product, bfloat16_input_gradient, false, false)->Apply(shapes);
BENCHMARK(quantize)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace longlora::ops
