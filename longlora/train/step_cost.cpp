#include "longlora/train/step_cost.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/segment_attention.h"
#include "longlora/train/memory_plan.h"

namespace longlora::train {
namespace {

constexpr int64_t kMeasuredTokens = 1024;
constexpr int64_t kLongestMeasuredSegment = 2048;
constexpr int64_t kMeasuredUpdates = 1 << 22;
constexpr int kRuns = 3;  // the first warms up

bool trains(const model::Block& block) {
  bool any = false;
  model::visit_block(block, "", [&](const std::string&, const model::Parameter& parameter) {
    any = any || parameter.trainable();
  });
  return any;
}

/// Elements of the matrices of one block that hidden states are multiplied with, and of those that train.
struct MatrixElements {
  double all = 0.0, trained = 0.0;

  explicit MatrixElements(const model::Block& block) {
    model::visit_block(block, "", [&](const std::string&, const model::Parameter& parameter) {
      if (parameter.value.dim() < 2) return;
      all += static_cast<double>(parameter.value.numel());
      if (parameter.trainable()) trained += static_cast<double>(parameter.value.numel());
    });
  }
};

/// The shortest of a few runs, in seconds.
template <typename Body>
double seconds_of(const Body& body) {
  double best = 0.0;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (run == 1 || (run > 1 && seconds < best)) best = seconds;
  }
  return best;
}

/// Seven products for each pair of a query and a key, forward and backward.
double attention_rate(const model::ModelConfig& config, at::ScalarType dtype, int64_t segment) {
  const auto leaf = [&](int64_t heads) {
    return at::randn({segment, heads, config.head_dim}, at::kFloat).to(dtype).requires_grad_(true);
  };
  const at::Tensor q = leaf(config.num_attention_heads), k = leaf(config.num_key_value_heads),
                   v = leaf(config.num_key_value_heads);
  ops::SegmentPlanOptions options;
  options.row_tokens = segment;
  const ops::SegmentPlan plan = ops::make_segment_plan(options);
  const double seconds = seconds_of([&] {
    const at::Tensor out = ops::segment_attention(q, k, v, plan);
    torch::autograd::grad({out}, {q, k, v}, {at::ones_like(out)});
  });
  const auto width = static_cast<double>(config.num_attention_heads * config.head_dim);
  const auto length = static_cast<double>(segment);
  return 14.0 * width * length * (length + 1.0) / 2.0 / seconds;
}

/// Elements that an update goes through: gradient cleared, summed up and applied, the value rounded.
double update_rate() {
  at::Tensor master = at::zeros({kMeasuredUpdates}, at::kFloat), grad = at::full_like(master, 1e-3),
             exp_avg = at::zeros_like(master), exp_avg_sq = at::zeros_like(master),
             value = at::zeros({kMeasuredUpdates}, at::kBFloat16);
  ops::cpu::AdamWStep step = {};
  step.sqrt_bias_correction2 = step.bias_correction1 = 1.0f;
  step.epsilon = 1e-8f;
  const auto kernel = ops::cpu::adamw_kernel();
  const double seconds = seconds_of([&] {
    grad.zero_();
    grad.norm();
    at::parallel_for(0, kMeasuredUpdates, 1 << 16, [&](int64_t begin, int64_t end) {
      kernel(master.mutable_data_ptr<float>() + begin, grad.const_data_ptr<float>() + begin,
             exp_avg.mutable_data_ptr<float>() + begin, exp_avg_sq.mutable_data_ptr<float>() + begin,
             end - begin, step);
    });
    value.copy_(master);
  });
  return static_cast<double>(kMeasuredUpdates) / seconds;
}

}  // namespace

StepFlops count_step_flops(const model::Decoder& decoder, int64_t batch_tokens, double seen_tokens,
                           const std::vector<Keep>& keep) {
  const auto tokens = static_cast<double>(batch_tokens);
  const auto query = static_cast<double>(decoder.config.num_attention_heads * decoder.config.head_dim);
  const double attending = 4.0 * query * seen_tokens * tokens;
  StepFlops flops;
  bool below_trains = decoder.embed_tokens.trainable();
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    const MatrixElements elements(decoder.blocks[i]);
    const double forward = 2.0 * elements.all * tokens;
    flops.matrix += forward;
    flops.attention += attending;
    const bool backward = below_trains || trains(decoder.blocks[i]);
    if (!backward) continue;
    flops.matrix += forward + 2.0 * elements.trained * tokens;
    flops.attention += 2.5 * attending;
    below_trains = true;
    if (keep[i] == Keep::kEverything) continue;
    flops.recomputed_matrix += forward;
    if (keep[i] == Keep::kInput) flops.recomputed_attention += attending;
  }
  const model::Parameter& head = decoder.head();
  flops.matrix += (head.trainable() ? 6.0 : 4.0) * static_cast<double>(head.value.numel()) * tokens;
  return flops;
}

TrainingRates measure_training_rates(const model::ModelConfig& config, at::ScalarType dtype,
                                     const std::optional<checkpoint::LoraConfig>& lora, double seen_tokens) {
  // Queries of a segment see half of it on average.
  const auto segment =
      static_cast<int64_t>(std::clamp(2.0 * seen_tokens, 64.0, static_cast<double>(kLongestMeasuredSegment)));
  TrainingRates rates;
  rates.attention = attention_rate(config, dtype, segment);
  rates.update = update_rate();

  model::ModelConfig one_layer = config;
  one_layer.num_hidden_layers = 1;
  one_layer.vocab_size = 256;
  model::Decoder decoder = model::random_decoder(one_layer, dtype, 1);
  if (lora) {
    model::add_lora(decoder, *lora, 1);
    model::train_adapter(decoder, {"embed", "norm"});
  } else {
    model::train_everything(decoder);
  }
  Batch batch = make_next_token_batch(at::randint(256, {1, kMeasuredTokens}, at::kLong),
                                      std::min(segment, kMeasuredTokens));
  const double seen = mean_seen_tokens(batch.plan);
  Engine engine(decoder, {Keep::kEverything}, kMeasuredTokens);
  const double seconds = seconds_of([&] { engine.forward_backward(batch, 1.0); });
  const StepFlops flops = count_step_flops(decoder, kMeasuredTokens, seen, {Keep::kEverything});
  const double matrix_seconds = std::max(0.2 * seconds, seconds - flops.attention / rates.attention);
  rates.matrix = flops.matrix / matrix_seconds;
  return rates;
}

double estimate_seconds(const StepFlops& flops, const TrainingRates& rates) {
  return (flops.matrix + flops.recomputed_matrix) / rates.matrix +
         (flops.attention + flops.recomputed_attention) / rates.attention;
}

}  // namespace longlora::train
