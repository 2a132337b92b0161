// The head and its loss, computed in chunks of rows, so that the logits of all rows never exist at once.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/ops/weight.h"

namespace longlora::ops {

/// The label of a row that has no target.
constexpr int64_t kIgnoreLabel = -100;

/// What is computed beside the loss.
struct LinearCrossEntropyOptions {
  /// The factor of every gradient, such as 1 / (number of labels of the update); 0: no gradients are
  /// computed.
  double grad_scale = 0.0;
  /// A float32 tensor [V, C] to which the gradient of the weight is added; undefined: it is not computed.
  at::Tensor grad_weight;
  /// How many rows of logits are made at a time. 0: as many as have about 32 MiB of logits, 64 MiB where the
  /// gradient of the weight is wanted, 256 MiB on a GPU. In training the memory plan chooses the number.
  int64_t chunk_rows = 0;
  /// Whether the loss of each row is wanted (LinearCrossEntropyResult::losses).
  bool want_losses = false;
};

struct LinearCrossEntropyResult {
  double loss_sum = 0.0;  // over the rows that have a label
  int64_t num_labels = 0;
  int64_t num_correct = 0;  // how many rows have their largest logit at the label
  at::Tensor grad_hidden;   // [N, C] of hidden's dtype; undefined where grad_scale is 0
  at::Tensor losses;        // [N] float32 where wanted; 0 for rows without a label
};

/// Returns the cross entropy of the logits hidden [N, C] · weightᵀ [C, V] for labels [N] int64. Rows with the
/// label kIgnoreLabel are skipped. Works outside autograd and returns the gradients itself. Throws Error for
/// any other label outside [0, V).
LinearCrossEntropyResult linear_cross_entropy(const at::Tensor& hidden, const Weight& weight,
                                              const at::Tensor& labels,
                                              const LinearCrossEntropyOptions& options);

}  // namespace longlora::ops
