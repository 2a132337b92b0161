// Predicts the memory of a run for any choice of where things lie and what layers keep. make_memory_plan
// tries such choices.
#pragma once

#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/train/layer_memory.h"
#include "longlora/train/memory_plan.h"

namespace longlora::train {

/// The sizes of a tile where memory is plentiful and where it is short, and that of a chunk of logits where
/// it is short.
constexpr int64_t kTileTokens = 4096, kSmallTileTokens = 512, kSmallLossRows = 64;

/// One choice of where things lie and how large tiles are.
struct Placement {
  int64_t tile_tokens = 0;
  int64_t loss_chunk_rows = 0;
  int64_t inputs_on_disk = 0;
  bool streamed = false;
  StateOnDisk state = StateOnDisk::kNone;
};

/// The bytes of values and training state for one choice of what lies on disk.
struct StateBytes {
  int64_t memory = 0;  // of masters, gradients and moments in memory
  int64_t values = 0;  // of values of parameters that are on disk
  int64_t disk = 0;
  int64_t moved = 0;  // what a step reads and writes
};
constexpr StateOnDisk kStateChoices[] = {StateOnDisk::kNone, StateOnDisk::kEmbedding, StateOnDisk::kAll};

/// Predicts for one decoder and one request. Not thread-safe.
class Prediction {
 public:
  /// Both must outlive this object.
  Prediction(const model::Decoder& decoder, const PlanRequest& request);

  /// Whether weights that are left in their files are converted when a layer runs.
  bool copies() const { return request_.copies; }
  bool may_stream() const { return streamable_ > 0; }
  int64_t num_layers() const { return static_cast<int64_t>(decoder_.blocks.size()); }
  /// Returns how many rows of logits are made at a time where memory is plentiful.
  int64_t loss_chunk_rows() const;
  const StateBytes& state(StateOnDisk choice) const { return states_[static_cast<size_t>(choice)]; }
  /// Returns how many bytes a step reads from disk and writes to it.
  int64_t moved_bytes(const Placement& place) const;
  /// Returns what layers and loss hold with the tiles of this choice.
  const LayerMemory& layer_memory(const Placement& place) const;

  /// Returns the plan of this choice where layers keep what `keep` says, with the predicted memory.
  MemoryPlan plan(const Placement& place, std::vector<Keep> keep) const;

 private:
  /// Adds a parameter to the bytes of a choice of what lies on disk.
  void count_state(const model::Parameter& parameter, model::ParameterRole role, StateOnDisk choice);
  int64_t input_bytes() const { return request_.batch_tokens * decoder_.config.hidden_size * element_bytes_; }
  int64_t program_bytes() const;
  /// Returns the bytes of packed operands and gradients of one head in one segment, which the backward pass
  /// of attention holds.
  int64_t attention_scratch() const;
  /// Returns what libtorch's operators hold that the CPU kernels do not. The backward pass of attention holds
  /// float32 gradients of the queries, gradients of shared keys and values for each query head, and copies of
  /// the result and its gradient. The loss holds probabilities in float32, and norms and rotations hold the
  /// rows of a tile in float32.
  int64_t gpu_scratch(const Placement& place) const;
  /// Returns the bytes of the rotary tables and of the batch with its noise.
  int64_t tables() const;
  /// Returns the most bytes that activations hold at once, and writes how many of them are inputs and kept
  /// results into `plan`.
  int64_t activations(const LayerMemory& layer, const Placement& place, MemoryPlan& plan) const;

  const model::Decoder& decoder_;
  const PlanRequest& request_;
  int64_t element_bytes_ = 2;
  mutable std::map<std::pair<int64_t, int64_t>, LayerMemory>
      layers_;  // by the sizes of tiles and of chunks of logits
  int64_t weights_ = 0, streamable_ = 0, largest_ = 0, streamed_layer_ = 0, streamed_head_ = 0;
  std::array<StateBytes, std::size(kStateChoices)> states_;
};

}  // namespace longlora::train
