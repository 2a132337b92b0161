// One training step (LoRA+, S², bfloat16) for each choice of what layers keep. Rates are per second of
// processor time; memory is the process's peak so far, so run one case at a time to compare it with
// what the plan predicts: --benchmark_filter=.
#include <benchmark/benchmark.h>

#include <memory>

#include "longlora/core/memory.h"
#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/tensors/tensor_memory.h"
#include "longlora/train/batch.h"
#include "longlora/train/engine.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/step_cost.h"

namespace longlora::train {
namespace {

// The embedded model's shape, and a hundred million parameters.
model::ModelConfig config_of(int64_t width) {
  const bool small = width == 256;
  return model::parse_model_config({{"architectures", {"LlamaForCausalLM"}},
                                    {"vocab_size", small ? 4096 : 32000},
                                    {"hidden_size", width},
                                    {"intermediate_size", small ? 704 : 2048},
                                    {"num_hidden_layers", small ? 6 : 12},
                                    {"num_attention_heads", width / 64},
                                    {"tie_word_embeddings", small},
                                    {"max_position_embeddings", 65536}},
                                   "benchmark");
}

// Puts the linear layers into four bits.
void quantize(model::Decoder& decoder) {
  model::visit_linears(decoder, [&](const std::string&, model::Linear& linear) {
    linear.weight.value = ops::Weight(ops::quantize_nf4(linear.weight.value.dense()), decoder.dtype());
  });
}

void training_step(benchmark::State& state) {
  tensors::pool_tensor_memory();
  const int64_t width = state.range(0), tokens = state.range(1);
  const auto keep = static_cast<Keep>(state.range(2));
  model::Decoder decoder = model::random_decoder(config_of(width), at::kBFloat16, 1);
  if (state.range(3) != 0) quantize(decoder);
  model::add_lora(decoder, {}, 1);
  model::train_adapter(decoder, {"embed", "norm"});
  TrainedParameters trained(decoder);
  AdamW optimizer(trained, {});
  const std::vector<Keep> keeps(decoder.blocks.size(), keep);
  Engine engine(trained, keeps, tokens);
  const at::Tensor ids = at::randint(decoder.config.vocab_size, {1, tokens}, at::kLong);
  const Batch batch = make_next_token_batch(ids, tokens / 4);
  const auto step = [&] {
    optimizer.zero_grad();
    benchmark::DoNotOptimize(engine.forward_backward(batch, 1.0 / static_cast<double>(tokens)));
    benchmark::DoNotOptimize(optimizer.grad_norm());
    optimizer.step(1e-5, 1.0);
  };
  step();
  for (auto _ : state) step();
  const double seen = mean_seen_tokens(batch.plan);
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["model FLOP/s"] =
      benchmark::Counter(count_step_flops(decoder, tokens, seen, keeps).model(),
                         benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::OneK::kIs1000);
  const Recompute recompute = keep == Keep::kEverything ? Recompute::kNever : Recompute::kAlways;
  PlanRequest request;
  request.batch_tokens = tokens;
  request.longest_segment_tokens = longest_segment(batch.plan);
  request.seen_tokens = seen;
  request.recompute = recompute;
  request.budget_bytes = int64_t{1} << 50;
  state.counters["predicted"] = static_cast<double>(make_memory_plan(decoder, request).total_bytes());
  state.counters["peak"] = static_cast<double>(peak_rss_bytes());
}
BENCHMARK(training_step)
    ->ArgNames({"C", "T", "keep", "nf4"})
    ->ArgsProduct({{768}, {2048, 8192}, {0, 1, 2}, {0, 1}})
    ->ArgsProduct({{256}, {2048}, {0, 2}, {0, 1}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace longlora::train

BENCHMARK_MAIN();
