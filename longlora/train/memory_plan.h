// What a training run needs in memory, and where and how long things are held.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/train/engine.h"
#include "longlora/train/state_place.h"

namespace longlora::train {

/// Recomputation: chosen by the plan, forced, or forbidden (--gradient_checkpointing).
enum class Recompute { kAuto, kAlways, kNever };

/// What a plan is made for.
struct PlanRequest {
  int64_t batch_tokens = 0;            // N: rows × tokens of a micro-batch
  int64_t row_tokens = 0;              // T; 0: one row
  int64_t longest_segment_tokens = 0;  // that attention goes through at once; 0: the row
  int64_t update_tokens = 0;           // of all micro-batches of an update; 0: any number
  double seen_tokens = 0.0;            // keys that a query sees on average (mean_seen_tokens)
  bool embedding_noise = false;        // [N, C] of noise beside the batch (NEFTune)
  bool dropout = false;                // on what low-rank pairs read
  bool moments_in_8_bits = false;      // the optimizer's, where AdamW keeps them so
  bool weight_decay = false;           // updates reach every row of the embedding
  Recompute recompute = Recompute::kAuto;
  int64_t budget_bytes = 0;
  /// Weights that may stay in their files (streamable_weights), and whether they are converted when their
  /// layer runs.
  std::set<std::string> streamable = {};
  bool copies = false;
  bool on_gpu = false;         // of libtorch's operators; the budget is the GPU's
  bool disk = false;           // inputs of layers and training state may lie in scratch files
  int64_t program_bytes = -1;  // resident before the model; below 0: what is usual
  int64_t num_threads = 1;
};

/// Predicted peak of one process in bytes, and what it comes from.
struct MemoryPlan {
  int64_t weights_bytes = 0;    // values of all parameters that are in memory
  int64_t optimizer_bytes = 0;  // masters, gradients, two moments, as far as they are in memory
  int64_t inputs_bytes = 0;     // layer inputs that are in memory
  int64_t kept_bytes = 0;       // what layers hold beyond their input
  int64_t workspace_bytes = 0;  // what else tensors hold when most is held: one layer in flight, the loss
  int64_t program_bytes = 0;    // the program and its libraries, and their scratch memory
  int64_t batch_tokens = 0;

  std::vector<Keep> keep;
  int64_t tile_rows = 0;
  int64_t loss_chunk_rows = 0;
  int64_t inputs_on_disk = 0;     // layers, from the lowest
  bool weights_streamed = false;  // the large frozen weights of layers and head stay in their files
  int64_t scratch_bytes = 0;      // of disk, for inputs
  int64_t streamed_bytes = 0;     // weights left in their files
  StateOnDisk state_on_disk = StateOnDisk::kNone;
  int64_t state_bytes = 0;        // of disk, for training state
  int64_t state_moved_bytes = 0;  // of it read and written by an update, while the embedding's rows are few

  int64_t total_bytes() const;
  /// The same without the program.
  int64_t tensor_bytes() const { return total_bytes() - program_bytes; }
  /// "1.2 GiB (weights 15 MiB, optimizer 8 MiB, …); 8 of 8 layers keep everything …".
  std::string describe() const;
};

/// "none", "embedding" or "all".
const char* state_name(StateOnDisk on_disk);

/// Plans for a decoder that already has its trainable parameters; its tensors need no values.
///
/// Everything is held in memory where that fits. Where it does not: smaller tiles of rows, and then of what
/// may lie on disk (inputs of the lowest layers, frozen weights left in their files, the training state of
/// the embedding or of everything) that combination which moves the fewest bytes in a step. With what remains
/// of the budget layers keep, from the last one down, what saves the most work for its bytes: attention's
/// results first where attention is long, then everything. Throws ResourceError when nothing fits, saying
/// what budget would do and how many tokens would fit.
MemoryPlan make_memory_plan(const model::Decoder& decoder, const PlanRequest& request);

/// The prediction alone, for a choice made elsewhere: everything in memory, tiles of `tile_rows` rows (0:
/// all).
MemoryPlan predict_memory(const model::Decoder& decoder, const PlanRequest& request, std::vector<Keep> keep,
                          int64_t tile_rows);

/// Keys that a query sees on average over all heads and tokens of a plan.
double mean_seen_tokens(const ops::AttentionPlan& plan);

/// Tokens of the plan's longest segment.
int64_t longest_segment(const ops::AttentionPlan& plan);

}  // namespace longlora::train
