// How much memory a training run needs, where its tensors lie, and what each layer keeps.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/train/engine.h"
#include "longlora/train/state_place.h"

namespace longlora::train {

/// Whether backward runs layers again: as the plan chooses, always, or never (--gradient_checkpointing).
enum class Recompute { kAuto, kAlways, kNever };

/// The run that a plan is made for.
struct PlanRequest {
  int64_t batch_tokens = 0;            // N: all tokens of a micro-batch
  int64_t row_tokens = 0;              // T; 0: the batch is one row
  int64_t longest_segment_tokens = 0;  // of attention; 0: a row is one segment
  int64_t update_tokens = 0;           // of all micro-batches of an update; 0: not limited
  double seen_tokens = 0.0;            // how many keys a query sees on average (mean_seen_tokens)
  bool embedding_noise = false;        // whether a batch has noise [N, C] for its embeddings (NEFTune)
  bool dropout = false;                // whether low-rank pairs have dropout
  bool moments_in_8_bits = false;      // whether AdamW keeps moments so where it can
  bool weight_decay = false;           // with it, updates change every row of the embedding
  Recompute recompute = Recompute::kAuto;
  int64_t budget_bytes = 0;
  /// The weights that may stay in their files (streamable_weights), and below whether they are converted when
  /// their layer runs.
  std::set<std::string> streamable = {};
  bool copies = false;
  bool on_gpu = false;         // whether libtorch's operators run on a GPU, whose memory the budget then is
  bool disk = false;           // whether inputs of layers and training state may lie in scratch files
  int64_t program_bytes = -1;  // what the process holds before it loads the model; below 0: the usual
  int64_t num_threads = 1;
};

/// Where things lie and what layers keep, with the predicted peak of the process in bytes and its parts.
struct MemoryPlan {
  int64_t weights_bytes = 0;    // of the values of all parameters that are in memory
  int64_t optimizer_bytes = 0;  // of masters, gradients and two moments that are in memory
  int64_t inputs_bytes = 0;     // of the inputs of layers that are in memory
  int64_t kept_bytes = 0;       // of what layers keep beside their inputs
  /// Of all other tensors at the peak: those of the layer that runs, or of the loss.
  int64_t workspace_bytes = 0;
  int64_t program_bytes = 0;  // of the program, its libraries and their scratch memory
  int64_t batch_tokens = 0;

  std::vector<Keep> keep;
  int64_t tile_tokens = 0;
  int64_t loss_chunk_rows = 0;
  int64_t inputs_on_disk = 0;     // how many layers have their input on disk; they are the lowest
  bool weights_streamed = false;  // whether the large frozen weights of layers and head stay in their files
  int64_t scratch_bytes = 0;      // on disk, of inputs
  int64_t streamed_bytes = 0;     // of weights that stay in their files
  StateOnDisk state_on_disk = StateOnDisk::kNone;
  int64_t state_bytes = 0;  // on disk, of training state
  /// Of it, what an update reads and writes while batches have seen few rows of the embedding.
  int64_t state_moved_bytes = 0;

  int64_t total_bytes() const;
  /// The predicted peak without the program.
  int64_t tensor_bytes() const { return total_bytes() - program_bytes; }
  /// "1.2 GiB (weights 15 MiB, optimizer 8 MiB, …); 8 of 8 layers keep everything …".
  std::string describe() const;
};

/// Returns "none", "embedding" or "all".
const char* state_name(StateOnDisk on_disk);

/// Makes the plan for a decoder whose trained parameters are chosen already and whose tensors need no values.
///
/// Where the budget allows it, everything is in memory. Otherwise tiles become smaller. After that things go
/// to the disk: inputs of the lowest layers, frozen weights that stay in their files, the training state of
/// the embedding or of all parameters. Of the combinations that fit, the one that moves the fewest bytes in a
/// step is chosen. The rest of the budget is for what layers keep, from the last layer down. What saves the
/// most work for its bytes comes first: the results of attention where a query sees many keys, then
/// everything. Throws ResourceError when nothing fits; the message says which budget would do and how many
/// tokens would fit.
MemoryPlan make_memory_plan(const model::Decoder& decoder, const PlanRequest& request);

/// Returns how many keys a query sees, on average over all heads and tokens of a plan.
double mean_seen_tokens(const ops::AttentionPlan& plan);

/// Returns the number of tokens in a plan's longest segment.
int64_t longest_segment(const ops::AttentionPlan& plan);

}  // namespace longlora::train
