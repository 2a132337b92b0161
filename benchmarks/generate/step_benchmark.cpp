// Steps of decoding, as shares of the rate at which the same threads read memory.
//
// build/release/benchmarks/generate/generate_benchmark [--benchmark_filter=smollm/bf16]
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "longlora/core/read_bandwidth.h"
#include "longlora/generate/step_decoder.h"
#include "longlora/model/load.h"
#include "longlora/ops/nf4.h"
#include "longlora/tensors/tensor_memory.h"

namespace longlora::generate {
namespace {

struct Shape {
  const char* name;
  int64_t layers, width, heads, kv_heads, head_dim, between, vocab_size;
  bool tied;
};
constexpr Shape kShapes[] = {
    {"tiny", 6, 256, 4, 4, 64, 688, 4096, true},        // models/tiny-novels
    {"smollm", 30, 576, 9, 3, 64, 1536, 49152, true},   // SmolLM2-135M
    {"1b", 6, 2048, 32, 8, 64, 8192, 32000, false},     // layers of Llama-3.2-1B
    {"7b", 2, 4096, 32, 32, 128, 11008, 32000, false},  // layers of Llama-2-7B
};

// Random values of a shape, which are those of a smaller block again and again.
at::Tensor values(at::IntArrayRef sizes, at::ScalarType dtype) {
  static const at::Tensor block = at::randn({1 << 20}).mul_(0.03);
  at::Tensor all = at::empty(sizes, dtype);
  at::Tensor flat = all.view({-1});
  for (int64_t i = 0; i < flat.numel(); i += block.numel()) {
    const int64_t count = std::min(block.numel(), flat.numel() - i);
    flat.slice(0, i, i + count).copy_(block.slice(0, 0, count));
  }
  return all;
}

model::Decoder make_decoder(const Shape& shape, at::ScalarType dtype, bool quantized) {
  model::ModelConfig config;
  config.vocab_size = shape.vocab_size;
  config.hidden_size = shape.width;
  config.intermediate_size = shape.between;
  config.num_hidden_layers = shape.layers;
  config.num_attention_heads = shape.heads;
  config.num_key_value_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.max_position_embeddings = 65536;
  config.tie_word_embeddings = shape.tied;
  model::Decoder decoder = model::shape_decoder(config, dtype);
  model::visit_parameters(decoder,
                          [&](const std::string&, model::ParameterRole role, model::Parameter& parameter) {
                            at::Tensor made = values(parameter.value.sizes(), dtype);
                            if (role == model::ParameterRole::kNormWeight) made.fill_(1.0);
                            parameter.value = made;
                            if (quantized && role == model::ParameterRole::kWeight)
                              parameter.value = ops::Weight(ops::quantize_nf4(made), dtype);
                          });
  return decoder;
}

// The most bytes a second that all threads read together.
double read_bandwidth() {
  static const double found = [] {
    double best = 0.0;
    for (int i = 0; i < 5; ++i) best = std::max(best, measure_read_bandwidth(at::get_num_threads()));
    return best;
  }();
  return found;
}

// A sequence of `tokens` tokens, whose keys and values are some numbers.
struct Sequence {
  std::vector<at::Tensor> memory;
  std::vector<ops::PageView> pages;

  Sequence(const ops::PageShape& shape, ops::PageFormat format, int64_t tokens) {
    for (int64_t first = 0; first <= tokens; first += ops::kPageTokens) {
      const int64_t bytes = shape.num_bytes(format);
      memory.push_back(values({bytes / 2}, at::kBFloat16));
      pages.push_back({format, static_cast<std::byte*>(memory.back().mutable_data_ptr())});
    }
  }
};

// `rows` sequences of `tokens` tokens get another one each.
void step(benchmark::State& state, const Shape& shape, bool quantized, at::ScalarType dtype) {
  const int64_t num_rows = state.range(0), tokens = state.range(1);
  const model::Decoder decoder = make_decoder(shape, dtype, quantized);
  StepDecoder decode(decoder);
  const ops::PageShape pages = {shape.layers, shape.kv_heads, shape.head_dim};
  const auto format = dtype == at::kFloat ? ops::PageFormat::kFloat : ops::PageFormat::kBFloat16;
  std::vector<Sequence> sequences;
  std::vector<StepRow> rows;
  for (int64_t r = 0; r < num_rows; ++r) sequences.emplace_back(pages, format, tokens);
  for (int64_t r = 0; r < num_rows; ++r)
    rows.push_back({.id = 17 * r + 1, .pages = sequences[r].pages, .num_tokens = tokens + 1});
  const double bandwidth = read_bandwidth();
  decode.run(rows);
  // Of the fastest step, which nothing else on the machine held up.
  double least = 1e9;
  StepTimes parts_of_least;
  for (auto _ : state) {
    StepTimes times;
    decode.measure(&times);
    const auto begin = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(decode.run(rows));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    if (time.count() >= least) continue;
    least = time.count();
    parts_of_least = times;
  }
  const auto cache_bytes =
      static_cast<double>(num_rows * tokens * pages.num_bytes(format) / ops::kPageTokens);
  const double bytes = static_cast<double>(decode.num_weight_bytes()) + cache_bytes;
  state.counters["tokens/s"] = static_cast<double>(num_rows) / least;
  state.counters["GB/s"] = bytes * 1e-9 / least;
  state.counters["of_bandwidth"] = bytes / bandwidth / least;
  const std::pair<const char*, double StepTimes::*> parts[] = {{"us_qkv", &StepTimes::projections},
                                                               {"us_rotate", &StepTimes::rotation},
                                                               {"us_attend", &StepTimes::attention},
                                                               {"us_output", &StepTimes::output},
                                                               {"us_gate_up", &StepTimes::gate_and_up},
                                                               {"us_down", &StepTimes::down},
                                                               {"us_head", &StepTimes::head}};
  for (const auto& [name, part] : parts) state.counters[name] = 1e6 * (parts_of_least.*part);
}

void add_all() {
  for (const Shape& shape : kShapes)
    for (const auto& [name, quantized, dtype] :
         {std::tuple("float32", false, at::kFloat), std::tuple("bf16", false, at::kBFloat16),
          std::tuple("nf4", true, at::kBFloat16)}) {
      auto* made = benchmark::RegisterBenchmark(
          (std::string(shape.name) + "/" + name).c_str(),
          [shape, quantized, dtype](benchmark::State& state) { step(state, shape, quantized, dtype); });
      made->ArgNames({"rows", "tokens"})->Unit(benchmark::kMillisecond)->UseRealTime();
      made->Args({1, 0})->Args({1, 6000})->Args({8, 0});
    }
}

}  // namespace
}  // namespace longlora::generate

int main(int argc, char** argv) {
  longlora::tensors::pool_tensor_memory();  // as the program does
  longlora::generate::add_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  std::printf("threads %d, reading %.1f GB/s\n", at::get_num_threads(),
              longlora::generate::read_bandwidth() * 1e-9);
  benchmark::RunSpecifiedBenchmarks();
}
