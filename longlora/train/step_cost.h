// Predicts how long a training step takes.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/model/decoder.h"
#include "longlora/train/engine.h"

namespace longlora::train {

/// The floating point operations of one micro-batch, forward and backward.
struct StepFlops {
  double matrix = 0.0;             // of products with weights and of the gradients that are needed
  double attention = 0.0;          // of attention: two products forward, five backward
  double recomputed_matrix = 0.0;  // of products that backward runs again
  double recomputed_attention = 0.0;

  /// Returns the operations as they are usually counted: without those that are run again, and with twice as
  /// many for attention's backward as for its forward.
  double model() const { return matrix + attention * 6.0 / 7.0; }
  double executed() const { return matrix + attention + recomputed_matrix + recomputed_attention; }
};

/// Counts the operations of a micro-batch. The trained parameters of `decoder` are chosen already, and its
/// tensors need no values. `seen_tokens` is what PlanRequest::seen_tokens says, and `keep` has one entry for
/// each layer.
StepFlops count_step_flops(const model::Decoder& decoder, int64_t batch_tokens, double seen_tokens,
                           const std::vector<Keep>& keep);

/// The rates that a machine reaches in training, in FLOP/s. The time of everything that is not attention
/// counts for the matrix rate.
struct TrainingRates {
  double matrix = 0.0;
  double attention = 0.0;
  double update = 0.0;  // how many elements the optimizer updates a second
  /// How much the measurements varied: the longest time as a multiple of the shortest, of whichever of the
  /// three rates varied most; 1 where nothing was measured. A value far above 1 means that other work ran on
  /// the machine, with which a run will have to share it, too.
  double variation = 1.0;
};

/// Measures the rates of this machine. It runs one layer of the model forward and backward, with low-rank
/// pairs or, where `lora` is null, with every weight trained; attention by itself; and an update. The three
/// take turns, and of each the best of several short runs counts. This takes seconds, or some ten seconds for
/// the widest models, and the memory of one layer.
TrainingRates measure_training_rates(const model::ModelConfig& config, at::ScalarType dtype,
                                     const std::optional<checkpoint::LoraConfig>& lora, double seen_tokens);

/// How many bytes of training state on disk an update is assumed to read and write a second. This is the rate
/// of a system whose cache holds the state; a disk itself is slower.
constexpr double kStateBytesPerSecond = 2e9;

double estimate_seconds(const StepFlops& flops, const TrainingRates& rates);

}  // namespace longlora::train
