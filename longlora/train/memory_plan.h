// What a training run needs in memory, and what each layer may keep.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/train/engine.h"

namespace longlora::train {

/// Recomputation: chosen by the plan, forced, or forbidden (--gradient_checkpointing).
enum class Recompute { kAuto, kAlways, kNever };

/// Predicted bytes of one process, and the choice per layer.
struct MemoryPlan {
  int64_t weights_bytes = 0;    // values of all parameters
  int64_t optimizer_bytes = 0;  // masters, gradients, two moments
  int64_t inputs_bytes = 0;     // input of every layer
  int64_t kept_bytes = 0;       // what layers hold beyond their input
  int64_t workspace_bytes = 0;  // one layer in flight, the loss chunk, the runtime
  std::vector<Keep> keep;

  int64_t total_bytes() const;
  /// "weights 15 MiB, optimizer 8 MiB, …: 1.2 GiB; 8 of 8 layers keep everything".
  std::string describe() const;
};

/// Plans for micro-batches of `batch_tokens` tokens. `decoder` already has its trainable parameters;
/// its tensors need no values. `seen_tokens`: how many keys a query sees on average (mean_seen_tokens).
/// From the last layer down, as long as the prediction stays inside `budget_bytes`, layers keep
/// what saves the most work for its bytes: attention's results first where attention is long,
/// then everything. Throws ResourceError when even recomputing everything would not fit,
/// saying how many tokens would.
MemoryPlan make_memory_plan(const model::Decoder& decoder, int64_t batch_tokens, Recompute recompute,
                            int64_t budget_bytes, double seen_tokens = 0.0);

/// Keys that a query sees on average over all heads and tokens of a plan.
double mean_seen_tokens(const ops::SegmentPlan& plan);

}  // namespace longlora::train
