#include "longlora/train/step_cost.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/ops/adamw.h"
#include "longlora/ops/attention.h"
#include "longlora/train/batch.h"
#include "longlora/train/memory_plan.h"

namespace longlora::train {
namespace {

constexpr int64_t kMeasuredTokens = 1024;
constexpr int64_t kLongestMeasuredSegment = 2048;
constexpr int64_t kMeasuredUpdates = 1 << 22;
// How many runs each measurement has after the one that warms up, and for how long runs are added to the
// fewest.
constexpr int kLeastRuns = 3, kMostRuns = 30;
constexpr double kMeasuredSeconds = 2.0;

bool trains(const model::Block& block) {
  bool any = false;
  model::visit_block(block, "", [&](const std::string&, const model::Parameter& parameter) {
    any = any || parameter.trainable();
  });
  return any;
}

// How many elements the matrices of a block have that hidden states are multiplied with, and how many of
// these are trained.
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

// Measures the time of something that is run several times.
class Stopwatch {
 public:
  // Runs the body and takes its time. The first run warms up and does not count.
  template <typename Body>
  void time(const Body& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    spent_ += seconds;
    if (!is_warm_) {
      is_warm_ = true;
      return;
    }
    best_ = best_ == 0.0 ? seconds : std::min(best_, seconds);
    worst_ = std::max(worst_, seconds);
  }

  // Returns the time of the shortest run in seconds.
  double best() const { return best_; }
  double variation() const { return best_ > 0.0 ? worst_ / best_ : 1.0; }
  // Returns the time of all runs.
  double spent() const { return spent_; }

 private:
  bool is_warm_ = false;
  double best_ = 0.0, worst_ = 0.0, spent_ = 0.0;
};

// Measures attention of one segment, forward and backward.
class AttentionProbe {
 public:
  AttentionProbe(const model::ModelConfig& config, at::ScalarType dtype, int64_t segment)
      : q_(leaf(segment, config.num_attention_heads, config.head_dim, dtype)),
        k_(leaf(segment, config.num_key_value_heads, config.head_dim, dtype)),
        v_(leaf(segment, config.num_key_value_heads, config.head_dim, dtype)) {
    ops::SegmentPlanOptions options;
    options.row_tokens = segment;
    plan_ = ops::make_segment_plan(options);
    const auto width = static_cast<double>(config.num_attention_heads * config.head_dim);
    const auto length = static_cast<double>(segment);
    flops_ = 14.0 * width * length * (length + 1.0) / 2.0;
  }

  void run() {
    const at::Tensor out = ops::attention(q_, k_, v_, plan_);
    torch::autograd::grad({out}, {q_, k_, v_}, {at::ones_like(out)});
  }
  // Returns the operations of a run: seven products for each pair of a query and a key that it sees.
  double flops() const { return flops_; }

 private:
  static at::Tensor leaf(int64_t segment, int64_t heads, int64_t head_dim, at::ScalarType dtype) {
    return at::randn({segment, heads, head_dim}, at::kFloat).to(dtype).requires_grad_(true);
  }

  at::Tensor q_, k_, v_;
  ops::AttentionPlan plan_;
  double flops_ = 0.0;
};

// Measures an update of kMeasuredUpdates elements: the gradient is cleared, its norm is taken, the update is
// made, and the values are rounded from the masters.
class UpdateProbe {
 public:
  UpdateProbe() {
    step_.sqrt_bias_correction2 = step_.bias_correction1 = 1.0f;
    step_.epsilon = 1e-8f;
  }

  void run() {
    grad_.zero_();
    grad_.norm();
    ops::adamw(master_, grad_, exp_avg_, exp_avg_sq_, step_);
    value_.copy_(master_);
  }

 private:
  at::Tensor master_ = at::zeros({kMeasuredUpdates}, at::kFloat), grad_ = at::full_like(master_, 1e-3),
             exp_avg_ = at::zeros_like(master_), exp_avg_sq_ = at::zeros_like(master_),
             value_ = at::zeros({kMeasuredUpdates}, at::kBFloat16);
  ops::AdamWStep step_ = {};
};

// Makes a decoder of one layer, trained as in the run, with a small vocabulary.
model::Decoder measured_layer(model::ModelConfig config, at::ScalarType dtype,
                              const std::optional<checkpoint::LoraConfig>& lora) {
  config.num_hidden_layers = 1;
  config.vocab_size = 256;
  model::Decoder decoder = model::random_decoder(config, dtype, 1);
  if (lora) {
    model::add_lora(decoder, *lora, 1);
    model::train_adapter(decoder, {"embed", "norm"});
  } else {
    model::train_everything(decoder);
  }
  return decoder;
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
  // A query sees half of its segment on average, so that a segment has twice as many tokens as a query sees.
  const auto segment =
      static_cast<int64_t>(std::clamp(2.0 * seen_tokens, 64.0, static_cast<double>(kLongestMeasuredSegment)));
  AttentionProbe attention(config, dtype, segment);
  UpdateProbe update;
  model::Decoder decoder = measured_layer(config, dtype, lora);
  const Batch batch = make_next_token_batch(at::randint(256, {1, kMeasuredTokens}, at::kLong),
                                            std::min(segment, kMeasuredTokens));
  TrainedParameters trained(decoder);
  Engine engine(trained, {Keep::kEverything}, kMeasuredTokens);

  Stopwatch attending, updating, training;
  // The three take turns, so that other work that slows the machine for a while slows a run of each, and not
  // all runs of one.
  for (int run = 0; run <= kMostRuns; ++run) {
    attending.time([&] { attention.run(); });
    updating.time([&] { update.run(); });
    training.time([&] { engine.forward_backward(batch, 1.0); });
    const double spent = attending.spent() + updating.spent() + training.spent();
    if (run >= kLeastRuns && spent > kMeasuredSeconds) break;
  }
  const StepFlops flops =
      count_step_flops(decoder, kMeasuredTokens, mean_seen_tokens(batch.plan), {Keep::kEverything});
  TrainingRates rates;
  rates.attention = attention.flops() / attending.best();
  rates.update = static_cast<double>(kMeasuredUpdates) / updating.best();
  const double matrix_seconds =
      std::max(0.2 * training.best(), training.best() - flops.attention / rates.attention);
  rates.matrix = flops.matrix / matrix_seconds;
  rates.variation = std::max({attending.variation(), updating.variation(), training.variation()});
  return rates;
}

double estimate_seconds(const StepFlops& flops, const TrainingRates& rates) {
  return (flops.matrix + flops.recomputed_matrix) / rates.matrix +
         (flops.attention + flops.recomputed_attention) / rates.attention;
}

}  // namespace longlora::train
