// What a training step costs in time.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/model/decoder.h"
#include "longlora/train/engine.h"

namespace longlora::train {

/// Floating point operations of one micro-batch, forward and backward.
struct StepFlops {
  double matrix = 0.0;             // products with weights, and gradients of what needs them
  double attention = 0.0;          // two products forward, five backward
  double recomputed_matrix = 0.0;  // what layers that keep less run again
  double recomputed_attention = 0.0;

  /// By the usual definition: no recomputation, attention's backward twice its forward.
  double model() const { return matrix + attention * 6.0 / 7.0; }
  double executed() const { return matrix + attention + recomputed_matrix + recomputed_attention; }
};

/// `decoder` has its trainable parameters, its tensors need no values. `seen_tokens` as in
/// make_memory_plan; `keep` has one entry a layer.
StepFlops count_step_flops(const model::Decoder& decoder, int64_t batch_tokens, double seen_tokens,
                           const std::vector<Keep>& keep);

/// Rates that a device reaches in training, FLOP/s. What is neither matrix product nor
/// attention is part of the matrix rate.
struct TrainingRates {
  double matrix = 0.0;
  double attention = 0.0;
  double update = 0.0;  // trained elements a second of the optimizer
  /// The slowest measurement's time as a multiple of the fastest's, the largest of the three; 1 where nothing
  /// was measured. Much above 1 other work ran beside, and a run will have to share with it, too.
  double variation = 1.0;
};

/// Measures this machine by running one layer of the model forward and backward, with low-rank pairs or
/// (without `lora`) every weight trained, attention and an update alone: each the best of several short runs,
/// with the three by turns. Seconds to some ten seconds for the widest models. Allocates one layer.
TrainingRates measure_training_rates(const model::ModelConfig& config, at::ScalarType dtype,
                                     const std::optional<checkpoint::LoraConfig>& lora, double seen_tokens);

/// Bytes a second of training state on disk that an update reads and writes: assumed, for a system whose
/// cache holds it. A disk that has to be waited for is slower.
constexpr double kStateBytesPerSecond = 2e9;

double estimate_seconds(const StepFlops& flops, const TrainingRates& rates);

}  // namespace longlora::train
