#include "longlora/ops/attention.h"

#include "benchmarks/ops/support.h"

namespace longlora::ops {
namespace {

// Tokens, group, query heads, key/value heads, head size.
struct Sizes {
  int64_t tokens, group, heads, kv_heads, head_size;

  explicit Sizes(const benchmark::State& state)
      : tokens(state.range(0)),
        group(state.range(1)),
        heads(state.range(2)),
        kv_heads(state.range(3)),
        head_size(state.range(4)) {}
  AttentionPlan plan() const {
    SegmentPlanOptions options;
    options.row_tokens = tokens;
    options.group_tokens = group;
    return make_segment_plan(options);
  }
  // Of the forward pass: two products over the pairs that are seen.
  double flops() const {
    double pairs = 0.0;
    const AttentionPlan segments = plan();
    for (const auto& bounds : segments.bounds)
      for (size_t i = 0; i + 1 < bounds.size(); ++i) {
        const auto length = static_cast<double>(bounds[i + 1] - bounds[i]);
        pairs += length * (length + 1.0) / 2.0 * static_cast<double>(heads) / 2.0;
      }
    return 4.0 * pairs * static_cast<double>(head_size);
  }
};

void forward(benchmark::State& state, at::ScalarType dtype) {
  const Sizes sizes(state);
  const AttentionPlan plan = sizes.plan();
  const at::Tensor q = bench::random_tensor({sizes.tokens, sizes.heads, sizes.head_size}, dtype);
  const at::Tensor k = bench::random_tensor({sizes.tokens, sizes.kv_heads, sizes.head_size}, dtype);
  const at::Tensor v = bench::random_tensor({sizes.tokens, sizes.kv_heads, sizes.head_size}, dtype);
  for (auto _ : state) benchmark::DoNotOptimize(attention(q, k, v, plan));
  bench::report_flops(state, sizes.flops());
}

void backward(benchmark::State& state, at::ScalarType dtype) {
  const Sizes sizes(state);
  const at::Tensor q = bench::leaf({sizes.tokens, sizes.heads, sizes.head_size}, dtype);
  const at::Tensor k = bench::leaf({sizes.tokens, sizes.kv_heads, sizes.head_size}, dtype);
  const at::Tensor v = bench::leaf({sizes.tokens, sizes.kv_heads, sizes.head_size}, dtype);
  const at::Tensor out = attention(q, k, v, sizes.plan());
  const at::Tensor grad = bench::random_tensor(out.sizes(), dtype);
  for (auto _ : state)
    benchmark::DoNotOptimize(torch::autograd::grad({out}, {q, k, v}, {grad}, /*retain_graph=*/true));
  bench::report_flops(state, 2.5 * sizes.flops());
}

// The last queries of one sequence, whose keys and values lie as a cache holds them.
void after_cache(benchmark::State& state, at::ScalarType dtype) {
  const int64_t tokens = state.range(0), queries = state.range(1), heads = state.range(2),
                kv_heads = state.range(3), head_size = state.range(4);
  const AttentionPlan plan = last_tokens(make_segment_plan({.row_tokens = tokens}), queries);
  const at::Tensor q = bench::random_tensor({queries, heads, head_size}, dtype);
  const at::Tensor k = bench::random_tensor({kv_heads, tokens, head_size}, dtype).transpose(0, 1);
  const at::Tensor v = bench::random_tensor({kv_heads, tokens, head_size}, dtype).transpose(0, 1);
  for (auto _ : state) benchmark::DoNotOptimize(attention(q, k, v, plan));
  const auto pairs = static_cast<double>(queries * (2 * tokens - queries + 1) / 2 * heads);
  bench::report_flops(state, 4.0 * pairs * static_cast<double>(head_size));
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "G", "H", "K", "D"})->Unit(benchmark::kMillisecond);
  benchmark->Args({4096, 1024, 2, 2, 64});
  benchmark->Args({4096, 0, 2, 2, 64});
  benchmark->Args({4096, 1024, 8, 1, 64});
  benchmark->Args({4096, 1024, 2, 2, 128});
  benchmark->Args({512, 128, 4, 4, 64});
}

void cache_shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "M", "H", "K", "D"})->Unit(benchmark::kMicrosecond);
  benchmark->Args({512, 1, 12, 12, 64});
  benchmark->Args({4096, 1, 8, 2, 128});
  benchmark->Args({4096, 512, 8, 2, 128});
}

BENCHMARK_CAPTURE(forward, bfloat16, at::kBFloat16)->Apply(shapes);
BENCHMARK_CAPTURE(backward, bfloat16, at::kBFloat16)->Apply(shapes);
BENCHMARK_CAPTURE(forward, float32, at::kFloat)->Apply(shapes);
BENCHMARK_CAPTURE(backward, float32, at::kFloat)->Apply(shapes);
BENCHMARK_CAPTURE(after_cache, bfloat16, at::kBFloat16)->Apply(cache_shapes);
BENCHMARK_CAPTURE(after_cache, float32, at::kFloat)->Apply(cache_shapes);

}  // namespace
}  // namespace longlora::ops
