#include "longlora/ops/cross_entropy.h"

#include "benchmarks/ops/support.h"

namespace longlora::ops {
namespace {

void loss_and_gradient(benchmark::State& state) {
  const int64_t tokens = state.range(0), width = state.range(1), vocab_size = state.range(2);
  const bool trains = state.range(3) != 0;
  const at::Tensor hidden = bench::random_tensor({tokens, width});
  const at::Tensor weight = bench::random_tensor({vocab_size, width}).mul_(0.05);
  const at::Tensor labels = at::randint(vocab_size, {tokens}, at::kLong);
  LinearCrossEntropyOptions options;
  options.grad_scale = 1.0 / static_cast<double>(tokens);
  if (trains) options.grad_weight = at::zeros({vocab_size, width}, at::kFloat);
  for (auto _ : state) benchmark::DoNotOptimize(linear_cross_entropy(hidden, weight, labels, options));
  bench::report_flops(state, (trains ? 6.0 : 4.0) * static_cast<double>(tokens * width * vocab_size));
}
BENCHMARK(loss_and_gradient)
    ->ArgNames({"N", "C", "V", "trains"})
    ->Args({1024, 768, 32000, 0})
    ->Args({1024, 768, 32000, 1})
    ->Args({2048, 256, 4096, 1})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace longlora::ops
