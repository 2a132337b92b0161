#include "longlora/ops/matrix_product.h"

#include "benchmarks/ops/support.h"

namespace longlora::ops {
namespace {

// Rows, inner dimension, columns.
struct Sizes {
  int64_t rows, depth, columns;

  explicit Sizes(const benchmark::State& state)
      : rows(state.range(0)), depth(state.range(1)), columns(state.range(2)) {}
  double flops() const { return 2.0 * static_cast<double>(rows * depth * columns); }
};

void ours(benchmark::State& state, bool transposed) {
  const Sizes sizes(state);
  const at::Tensor a = bench::random_tensor({sizes.rows, sizes.depth});
  const at::Tensor b = transposed ? bench::random_tensor({sizes.columns, sizes.depth})
                                  : bench::random_tensor({sizes.depth, sizes.columns});
  for (auto _ : state) benchmark::DoNotOptimize(matrix_product(a, {b, transposed}));
  bench::report_flops(state, sizes.flops());
}

void libtorch(benchmark::State& state, bool transposed) {
  const Sizes sizes(state);
  const at::Tensor a = bench::random_tensor({sizes.rows, sizes.depth});
  const at::Tensor b = transposed ? bench::random_tensor({sizes.columns, sizes.depth})
                                  : bench::random_tensor({sizes.depth, sizes.columns});
  for (auto _ : state) benchmark::DoNotOptimize(transposed ? at::linear(a, b) : at::mm(a, b));
  bench::report_flops(state, sizes.flops());
}

void weight_gradient(benchmark::State& state) {
  const Sizes sizes(state);
  const at::Tensor a = bench::random_tensor({sizes.rows, sizes.depth});
  const at::Tensor b = bench::random_tensor({sizes.rows, sizes.columns});
  at::Tensor sum = at::zeros({sizes.depth, sizes.columns}, at::kFloat);
  for (auto _ : state) add_transposed_product(a, b, sum);
  bench::report_flops(state, sizes.flops());
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"M", "K", "N"})->Unit(benchmark::kMillisecond);
  benchmark->Args({8192, 256, 256})->Args({8192, 256, 704})->Args({8192, 704, 256})->Args({8192, 256, 4096});
  benchmark->Args({4096, 768, 768})->Args({4096, 768, 2048})->Args({4096, 2048, 768});
  benchmark->Args({1024, 768, 32000})->Args({1024, 32000, 768});
  benchmark->Args({2048, 2048, 5632})->Args({2048, 5632, 2048});
}

BENCHMARK_CAPTURE(ours, transposed, true)->Apply(shapes);
BENCHMARK_CAPTURE(libtorch, transposed, true)->Apply(shapes);
BENCHMARK_CAPTURE(ours, plain, false)->Apply(shapes);
BENCHMARK_CAPTURE(libtorch, plain, false)->Apply(shapes);
BENCHMARK(weight_gradient)->Apply(shapes);

}  // namespace
}  // namespace longlora::ops
