// Training steps of a well-known shape with random weights on one device, as benchmarks/gpu.sh runs them: one
// case a process, one JSON line on standard output. Nothing is read or written besides.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/ops/device.h"
#include "longlora/tensors/device.h"
#include "longlora/train/batch.h"
#include "longlora/train/engine.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/step_cost.h"
#include "longlora/train/trainer.h"

namespace longlora::train {
namespace {

struct Case {
  std::string shape = "7b";
  int64_t tokens = 8192;
  std::string attention = "s2";
  int64_t steps = 3;
  int64_t matrix_size = 8192;
  ops::DeviceFlags flags;
};

model::ModelConfig config_of(const std::string& shape) {
  // hidden, intermediate, layers, heads, key/value heads
  static const std::map<std::string, std::array<int64_t, 5>> shapes = {
      {"15m", {288, 768, 6, 6, 6}},
      {"110m", {768, 2048, 12, 12, 12}},
      {"1b", {2048, 5632, 22, 32, 4}},
      {"7b-2layers", {4096, 11008, 2, 32, 32}},
      {"7b", {4096, 11008, 32, 32, 32}}};
  const auto& [hidden, intermediate, layers, heads, kv_heads] = shapes.at(shape);
  return model::parse_model_config({{"architectures", {"LlamaForCausalLM"}},
                                    {"hidden_size", hidden},
                                    {"intermediate_size", intermediate},
                                    {"num_hidden_layers", layers},
                                    {"num_attention_heads", heads},
                                    {"num_key_value_heads", kv_heads},
                                    {"vocab_size", 32000},
                                    {"max_position_embeddings", 1 << 20}},
                                   shape);
}

// Waits until the device has done all that it was given.
void finish(at::Device device) {
  at::zeros({1}, at::TensorOptions(device)).item<float>();
}

template <typename Body>
double seconds_of(at::Device device, const Body& body) {
  finish(device);
  const auto start = std::chrono::steady_clock::now();
  body();
  finish(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// bfloat16 FLOP/s of one large product of square matrices: the best of five.
double matrix_rate(at::Device device, int64_t size) {
  const auto options = at::TensorOptions(at::kBFloat16).device(device);
  const at::Tensor a = at::randn({size, size}, options), b = at::randn({size, size}, options);
  double best = 0.0;
  for (int i = 0; i < 5; ++i) {
    const double seconds = seconds_of(device, [&] { at::mm(a, b); });
    best = std::max(best, 2.0 * std::pow(static_cast<double>(size), 3) / seconds);
  }
  return best;
}

// LoRA+ on random weights that are made where they are used.
model::Decoder make_decoder(const model::ModelConfig& config, at::Device device) {
  model::Decoder decoder = model::shape_decoder(config, at::kBFloat16);
  model::visit_parameters(decoder, [&](const std::string&, model::Parameter& parameter) {
    const at::Tensor value =
        at::ones(parameter.value.sizes(), parameter.value.dense().options().device(device));
    parameter.value = value.dim() == 2 ? value.normal_(0.0, config.initializer_range) : value;
  });
  model::add_lora(decoder, {}, 1);
  model::train_adapter(decoder, {"embed", "norm"});
  return decoder;
}

TrainOptions options_of(const Case& wanted, at::Device device) {
  TrainOptions options;
  options.model_max_length = wanted.tokens;
  options.attention = wanted.attention == "full" ? AttentionKind::kFull : AttentionKind::kShiftedSparse;
  options.device = device;
  return options;
}

Json measure(const Case& wanted) {
  const at::Device device = ops::open_device(wanted.flags);
  const double rate = matrix_rate(device, wanted.matrix_size);
  const model::ModelConfig config = config_of(wanted.shape);
  const TrainOptions options = options_of(wanted, device);
  model::Decoder shape = model::shape_decoder(config, at::kBFloat16);
  model::add_lora(shape, {}, 1);
  model::train_adapter(shape, {"embed", "norm"});
  const MemoryPlan plan = plan_run(options, shape);
  log_info(fmt::format("predicted memory: {}", plan.describe()));

  model::Decoder decoder = make_decoder(config, device);
  TrainedParameters trained(decoder);
  AdamW optimizer(trained, {});
  EngineOptions engine_options;
  engine_options.tile_tokens = plan.tile_tokens;
  engine_options.loss_chunk_rows = plan.loss_chunk_rows;
  Engine engine(trained, plan.keep, wanted.tokens, engine_options);
  const Batch batch = make_next_token_batch(at::randint(config.vocab_size, {1, wanted.tokens}, at::kLong),
                                            options.group_tokens());
  std::vector<double> losses;
  const auto step = [&] {
    optimizer.zero_grad();
    losses.push_back(engine.forward_backward(batch, 1.0 / static_cast<double>(wanted.tokens)).mean());
    optimizer.grad_norm();
    optimizer.step(2e-5, 1.0);
  };
  const double first_seconds = seconds_of(device, step);
  std::vector<double> seconds;
  for (int64_t i = 0; i < wanted.steps; ++i) seconds.push_back(seconds_of(device, step));
  double sum = 0.0;
  for (const double one : seconds) sum += one;
  const double mean = sum / static_cast<double>(seconds.size());
  const StepFlops flops = count_step_flops(decoder, wanted.tokens, mean_seen_tokens(batch.plan), plan.keep);
  return {{"shape", wanted.shape},
          {"tokens", wanted.tokens},
          {"attention", wanted.attention},
          {"attention_backend", wanted.flags.attention_backend},
          {"first_step_seconds", first_seconds},
          {"step_seconds", seconds},
          {"tokens_per_second", static_cast<double>(wanted.tokens) / mean},
          {"model_flops_per_second", flops.model() / mean},
          {"matrix_flops_per_second", rate},
          {"model_flop_utilisation", flops.model() / mean / rate},
          {"peak_bytes", tensors::peak_memory_bytes(device)},
          {"predicted_bytes", plan.total_bytes()},
          {"losses", losses}};
}

int run(int argc, char** argv) {
  Case wanted;
  CLI::App app("One training case on one device, as a JSON line", "train_gpu_benchmark");
  app.add_option("--shape", wanted.shape)
      ->check(CLI::IsMember({"15m", "110m", "1b", "7b-2layers", "7b"}))
      ->capture_default_str();
  app.add_option("--tokens", wanted.tokens, "Tokens of the row")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--attention", wanted.attention)
      ->check(CLI::IsMember({"s2", "full"}))
      ->capture_default_str();
  app.add_option("--steps", wanted.steps, "Steps measured, after a first one")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--matrix_size", wanted.matrix_size, "Of the product that the utilisation is a share of")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--device", wanted.flags.device)->capture_default_str();
  app.add_option("--attention_backend", wanted.flags.attention_backend)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    fmt::print("{}\n", measure(wanted).dump());
  } catch (const Error& error) {
    log_error(error.what());
    return static_cast<int>(error.code());
  } catch (const c10::OutOfMemoryError& error) {
    log_error(error.what_without_backtrace());
    return static_cast<int>(ExitCode::kResources);
  }
  return 0;
}

}  // namespace
}  // namespace longlora::train

int main(int argc, char** argv) {
  return longlora::train::run(argc, argv);
}
