// The head and its loss, in chunks of rows: all logits never exist at once.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/ops/weight.h"

namespace longlora::ops {

/// Label of a row that has no target.
constexpr int64_t kIgnoreLabel = -100;

/// What to compute besides the loss.
struct LinearCrossEntropyOptions {
  /// Factor of every gradient (1 / supervised tokens of the whole window); 0: no gradients.
  double grad_scale = 0.0;
  /// Float32 [V, C] accumulator of the head's gradient, or undefined: no weight gradient.
  at::Tensor grad_weight;
  /// Rows handled at once; 0 picks a chunk of about 32 MiB of logits, 64 MiB where the weight's gradient is
  /// wanted, 256 MiB on a GPU. Training says how many: its memory plan has chosen them.
  int64_t chunk_rows = 0;
  /// Per-row losses wanted (LinearCrossEntropyResult::losses).
  bool want_losses = false;
};

struct LinearCrossEntropyResult {
  double loss_sum = 0.0;  // over rows with a label
  int64_t num_labels = 0;
  int64_t num_correct = 0;  // rows whose argmax is the label
  at::Tensor grad_hidden;   // [N, C] of hidden's dtype when grad_scale != 0
  at::Tensor losses;        // [N] float32 when wanted; 0 where ignored
};

/// Cross entropy of hidden [N, C] · weightᵀ [C, V] against labels [N] int64.
/// Rows labelled kIgnoreLabel are skipped. Works outside autograd and returns
/// the gradients itself. Throws Error for a label outside [0, V).
LinearCrossEntropyResult linear_cross_entropy(const at::Tensor& hidden, const Weight& weight,
                                              const at::Tensor& labels,
                                              const LinearCrossEntropyOptions& options);

}  // namespace longlora::ops
