// The predicted peak of one decoder and request, for any choice of where things are and what layers keep.
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

/// Rows of a tile and of a chunk of logits where memory is no matter, and where it is.
constexpr int64_t kTileRows = 4096, kSmallTileRows = 512, kSmallLossRows = 64;

/// Where things are; the numbers of a candidate.
struct Placement {
  int64_t tile_rows = 0;
  int64_t loss_chunk_rows = 0;
  int64_t inputs_on_disk = 0;
  bool streamed = false;
  StateOnDisk state = StateOnDisk::kNone;
};

/// Bytes of values and training state for one choice of what of it is on disk.
struct StateBytes {
  int64_t memory = 0;  // masters, gradients, moments
  int64_t values = 0;  // of parameters that are on disk
  int64_t disk = 0;
  int64_t moved = 0;  // read and written in a step
};
constexpr StateOnDisk kStateChoices[] = {StateOnDisk::kNone, StateOnDisk::kEmbedding, StateOnDisk::kAll};

/// Not thread-safe.
class Prediction {
 public:
  /// Both outlive it.
  Prediction(const model::Decoder& decoder, const PlanRequest& request);

  /// Whether weights that are left in their files are converted when a layer runs.
  bool copies() const { return request_.copies; }
  bool may_stream() const { return streamable_ > 0; }
  int64_t num_layers() const { return static_cast<int64_t>(decoder_.blocks.size()); }
  /// Rows of logits at a time where memory is no matter.
  int64_t loss_chunk_rows() const;
  const StateBytes& state(StateOnDisk choice) const { return states_[static_cast<size_t>(choice)]; }
  /// Read from and written to disk in a step.
  int64_t moved_bytes(const Placement& place) const;
  /// What layers and loss hold in such tiles.
  const LayerMemory& layer_memory(const Placement& place) const;

  /// The whole plan for what each layer keeps.
  MemoryPlan plan(const Placement& place, std::vector<Keep> keep) const;

 private:
  /// Adds a parameter to the bytes of a choice.
  void count_state(const model::Parameter& parameter, model::ParameterRole role, StateOnDisk choice);
  int64_t input_bytes() const { return request_.batch_tokens * decoder_.config.hidden_size * element_bytes_; }
  int64_t program_bytes() const;
  /// Packed operands and gradients of one head in one segment, as attention's backward holds them.
  int64_t attention_scratch() const;
  /// What libtorch's operators hold that the CPU kernels do not: in attention's backward float32 gradients of
  /// the queries, gradients for each query head of shared keys and values, and copies of the result and its
  /// gradient; in the loss probabilities in float32; in norms and rotations float32 rows of a tile.
  int64_t gpu_scratch(const Placement& place) const;
  /// Rotary tables and the batch itself, with its noise.
  int64_t tables() const;
  /// The most that activations hold at once; fills in what of it are inputs and kept results.
  int64_t activations(const LayerMemory& layer, const Placement& place, MemoryPlan& plan) const;

  const model::Decoder& decoder_;
  const PlanRequest& request_;
  int64_t element_bytes_ = 2;
  mutable std::map<std::pair<int64_t, int64_t>, LayerMemory> layers_;  // by rows of tiles and logits
  int64_t weights_ = 0, streamable_ = 0, largest_ = 0, streamed_layer_ = 0, streamed_head_ = 0;
  std::array<StateBytes, std::size(kStateChoices)> states_;
};

}  // namespace longlora::train
