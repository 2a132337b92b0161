#include "longlora/train/memory_prediction.h"

#include <algorithm>

#include "longlora/forward/measured_layer.h"
#include "longlora/tensors/disk_tensor.h"
#include "longlora/train/optimizer.h"

namespace longlora::train {
namespace {

// What is resident when a verb starts: the program and libtorch.
constexpr int64_t kProgramBytes = int64_t{150} << 20;
// What the program grows by in training: the pages of libraries that are executed, kernels that are generated
// at run time, and the heap.
constexpr int64_t kRunningBytes = int64_t{75} << 20;
// The size of the logits of a chunk. It is larger where the head is trained, because every chunk adds a
// matrix of the head's size to its gradient.
constexpr int64_t kLogitsBytes = int64_t{16} << 20, kTrainedLogitsBytes = int64_t{64} << 20;
// The size of the logits of a chunk on a GPU, and the work space of its libraries. Neither has been measured.
constexpr int64_t kGpuLogitsBytes = int64_t{128} << 20, kGpuRunningBytes = int64_t{256} << 20;
// What a token takes in ids, labels, positions and the tensors that they are made of.
constexpr int64_t kBatchBytes = 48;

// What a piece of state on disk takes in memory while it is updated: pages of master, two moments and value,
// and some around them.
constexpr int64_t kStatePieceBytes = tensors::kDiskPieceElements * 16;

}  // namespace

Prediction::Prediction(const model::Decoder& decoder, const PlanRequest& request)
    : decoder_(decoder), request_(request) {
  element_bytes_ = static_cast<int64_t>(c10::elementSize(decoder.dtype()));
  int64_t layer_bytes = 0;
  model::visit_parameters(
      decoder, [&](const std::string& name, model::ParameterRole role, const model::Parameter& parameter) {
        const int64_t elements = parameter.value.numel();
        if (parameter.value.is_nf4()) {
          weights_ += parameter.value.num_bytes();
          return;
        }
        weights_ += elements * element_bytes_;
        if (request.streamable.count(name)) streamable_ += elements * element_bytes_;
        if (parameter.trainable())
          for (const StateOnDisk choice : kStateChoices) count_state(parameter, role, choice);
        largest_ = std::max(largest_, elements * 4);
      });
  for (const model::Block& block : decoder.blocks) {
    int64_t bytes = 0;
    model::visit_block(block, "", [&](const std::string&, const model::Parameter& parameter) {
      if (!parameter.trainable() && !parameter.value.is_nf4())
        bytes += parameter.value.numel() * element_bytes_;
    });
    layer_bytes = std::max(layer_bytes, bytes);
  }
  streamed_layer_ = layer_bytes + (copies() ? largest_ : 0);
  if (request.streamable.count(model::head_name(decoder.config)) != 0)
    streamed_head_ = decoder.lm_head.value.numel() * element_bytes_ + (copies() ? largest_ : 0);
}

void Prediction::count_state(const model::Parameter& parameter, model::ParameterRole role,
                             StateOnDisk choice) {
  StateBytes& bytes = states_[static_cast<size_t>(choice)];
  const int64_t elements = parameter.value.numel();
  const bool in_8_bits = request_.moments_in_8_bits && takes_8_bit_moments(parameter, role);
  const int64_t moments = moment_bytes(elements, in_8_bits);
  // In runs that compute in float32 the values are the masters.
  const bool shares_masters = decoder_.dtype() == at::kFloat;
  const int64_t master = shares_masters ? 0 : 4 * elements;
  // Few rows of an embedding that is looked up alone get gradients, and without weight decay only these
  // change.
  int64_t grad = elements;
  const bool by_rows = is_looked_up_alone(decoder_, parameter);
  if (by_rows && !request_.on_gpu && request_.update_tokens > 0)
    grad = std::min(elements, request_.update_tokens * parameter.value.size(1));
  const int64_t updated = by_rows && !request_.weight_decay ? grad : elements;
  bytes.memory += 4 * grad;
  if (!has_state_on_disk(decoder_, parameter, choice)) {
    bytes.memory += master + moments;
    return;
  }
  // The scales of moments in 8 bits stay in memory.
  const int64_t scales = in_8_bits ? moments - 2 * elements : 0;
  const int64_t value = has_value_on_disk(decoder_, parameter, choice) ? elements * element_bytes_ : 0;
  const int64_t on_disk = master + moments - scales + value;
  bytes.memory += scales;
  bytes.values += value;
  bytes.disk += on_disk;
  bytes.moved += 2 * (on_disk / elements) * updated;
}

int64_t Prediction::loss_chunk_rows() const {
  const model::Parameter& head = decoder_.head();
  int64_t bytes = head.trainable() ? kTrainedLogitsBytes : kLogitsBytes;
  if (request_.on_gpu) bytes = kGpuLogitsBytes;
  return std::max(kSmallLossRows, bytes / (head.value.size(0) * element_bytes_));
}

int64_t Prediction::moved_bytes(const Placement& place) const {
  const int64_t batches =
      std::max<int64_t>(1, request_.update_tokens / std::max<int64_t>(1, request_.batch_tokens));
  return batches * 2 * (place.inputs_on_disk * input_bytes() + (place.streamed ? streamable_ : 0)) +
         state(place.state).moved;
}

const LayerMemory& Prediction::layer_memory(const Placement& place) const {
  const auto rows = std::pair(place.tile_tokens, place.loss_chunk_rows);
  auto found = layers_.find(rows);
  if (found == layers_.end())
    found = layers_
                .emplace(rows, LayerMemory(decoder_, {request_.batch_tokens, place.tile_tokens,
                                                      place.loss_chunk_rows, request_.dropout}))
                .first;
  return found->second;
}

MemoryPlan Prediction::plan(const Placement& place, std::vector<Keep> keep) const {
  MemoryPlan plan;
  plan.batch_tokens = request_.batch_tokens;
  const StateBytes& state_bytes = state(place.state);
  plan.weights_bytes = weights_ - (place.streamed ? streamable_ : 0) - state_bytes.values;
  plan.optimizer_bytes = state_bytes.memory;
  plan.state_on_disk = place.state;
  plan.state_bytes = state_bytes.disk;
  plan.state_moved_bytes = state_bytes.moved;
  plan.tile_tokens = place.tile_tokens < request_.batch_tokens ? place.tile_tokens : 0;
  plan.loss_chunk_rows = place.loss_chunk_rows;
  plan.inputs_on_disk = place.inputs_on_disk;
  plan.scratch_bytes = place.inputs_on_disk * input_bytes();
  plan.weights_streamed = place.streamed;
  plan.streamed_bytes = place.streamed ? streamable_ : 0;
  plan.keep = std::move(keep);
  const LayerMemory& layer = layer_memory(place);
  plan.program_bytes = program_bytes() + (request_.on_gpu ? gpu_scratch(place) : layer.product_scratch());
  if (state_bytes.disk > 0) plan.program_bytes += kStatePieceBytes;
  const int64_t peak = tables() + activations(layer, place, plan);
  plan.workspace_bytes = peak - plan.inputs_bytes - plan.kept_bytes;
  return plan;
}

int64_t Prediction::program_bytes() const {
  if (request_.on_gpu) return std::max<int64_t>(0, request_.program_bytes) + kGpuRunningBytes;
  const int64_t start = request_.program_bytes >= 0 ? request_.program_bytes : kProgramBytes;
  return start + kRunningBytes + request_.num_threads * attention_scratch();
}

int64_t Prediction::attention_scratch() const {
  const int64_t row = request_.row_tokens > 0 ? request_.row_tokens : request_.batch_tokens;
  const int64_t segment = request_.longest_segment_tokens > 0 ? request_.longest_segment_tokens : row;
  return segment * (decoder_.config.head_dim * (4 * element_bytes_ + 3 * 4) + 2 * 4);
}

int64_t Prediction::gpu_scratch(const Placement& place) const {
  const model::ModelConfig& config = decoder_.config;
  const int64_t queries = request_.batch_tokens * config.num_attention_heads * config.head_dim;
  const int64_t attention = queries * (4 + 4 * element_bytes_);
  const int64_t loss_rows = std::min(place.loss_chunk_rows, request_.batch_tokens);
  const int64_t loss = loss_rows * decoder_.head().value.size(0) * 4;
  const int64_t tile = place.tile_tokens > 0 ? place.tile_tokens : request_.batch_tokens;
  return std::max({attention, loss, tile * config.hidden_size * 4 * 4});
}

int64_t Prediction::tables() const {
  const int64_t row = request_.row_tokens > 0 ? request_.row_tokens : request_.batch_tokens;
  return row * forward::rotary_bytes(decoder_.config) + request_.batch_tokens * kBatchBytes +
         (request_.embedding_noise ? input_bytes() : 0);
}

int64_t Prediction::activations(const LayerMemory& layer, const Placement& place, MemoryPlan& plan) const {
  const int64_t input = layer.input(), on_disk = place.inputs_on_disk;
  const int64_t weights = place.streamed ? streamed_layer_ : 0;
  // Inputs that are being written to the disk or read back take memory beside the one in use.
  const auto buffers = [&](int64_t i) {
    return (i < on_disk ? input : 0) + (i > 0 && i <= on_disk ? input : 0);
  };
  int64_t held = 0, peak = 0;
  for (int64_t i = 0; i < num_layers(); ++i) {
    const Keep keep = plan.keep[static_cast<size_t>(i)];
    const LayerPhases& phases = layer.phases(keep);
    held += phases.kept + (i < on_disk ? 0 : input);
    plan.kept_bytes += phases.kept;
    plan.inputs_bytes += i < on_disk ? 0 : input;
    peak = std::max(peak, held + buffers(i) + phases.forward + weights);
  }
  peak = std::max(peak, held + (on_disk == num_layers() ? input : 0) + layer.loss() +
                            (place.streamed ? streamed_head_ : 0));
  for (int64_t i = num_layers(); i-- > 0;) {
    const Keep keep = plan.keep[static_cast<size_t>(i)];
    const LayerPhases& phases = layer.phases(keep);
    peak = std::max(peak, held + buffers(i) + phases.backward + weights);
    held -= phases.kept + (i < on_disk ? 0 : input);
  }
  return peak;
}

}  // namespace longlora::train
