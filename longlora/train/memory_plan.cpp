#include "longlora/train/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "longlora/core/error.h"
#include "longlora/core/progress.h"
#include "longlora/model/streamed_weights.h"
#include "longlora/train/layer_memory.h"
#include "longlora/train/optimizer.h"

namespace longlora::train {
namespace {

/// Resident when a verb starts: the program, libtorch, their start-up.
constexpr int64_t kProgramBytes = int64_t{150} << 20;
/// What training adds to that: pages of libraries that it runs through, generated kernels, the heap.
constexpr int64_t kRunningBytes = int64_t{75} << 20;
/// Rows of a tile where memory is no matter, and where it is.
constexpr int64_t kTileRows = 4096, kSmallTileRows = 512, kSmallLossRows = 64;
/// Logits of a chunk; where the head trains every chunk adds a whole matrix to its gradient.
constexpr int64_t kLogitsBytes = int64_t{16} << 20, kTrainedLogitsBytes = int64_t{64} << 20;
/// The same of a GPU, and what its libraries take as work space. Not measured yet.
constexpr int64_t kGpuLogitsBytes = int64_t{128} << 20, kGpuRunningBytes = int64_t{256} << 20;
/// Ids, labels, positions and what makes them, for each token.
constexpr int64_t kBatchBytes = 48;

/// Where things are; the numbers of a candidate.
struct Placement {
  int64_t tile_rows = 0;
  int64_t loss_chunk_rows = 0;
  int64_t inputs_on_disk = 0;
  bool streamed = false;
};

/// The predicted peak of one decoder and request for any placement and choice of what layers keep.
class Prediction {
 public:
  Prediction(const model::Decoder& decoder, const PlanRequest& request)
      : decoder_(decoder), request_(request) {
    element_bytes_ = static_cast<int64_t>(c10::elementSize(decoder.dtype()));
    const bool shares_masters = decoder.dtype() == at::kFloat;
    const auto streamable = model::streamable_weights(decoder);
    int64_t layer_bytes = 0;
    model::visit_parameters(decoder, [&](const std::string& name, const model::Parameter& parameter) {
      const int64_t elements = parameter.value.numel();
      if (parameter.quantized) {
        weights_ += parameter.quantized->num_bytes();
        return;
      }
      weights_ += elements * element_bytes_;
      if (streamable.count(name)) streamable_ += elements * element_bytes_;
      if (parameter.trainable()) {
        const bool in_8_bits = request.moments_in_8_bits && takes_8_bit_moments(decoder, parameter);
        optimizer_ += elements * (shares_masters ? 4 : 8) + moment_bytes(elements, in_8_bits);
      }
      largest_ = std::max(largest_, elements * 4);
    });
    for (const model::Block& block : decoder.blocks) {
      int64_t bytes = 0;
      model::visit_block(block, "", [&](const std::string&, const model::Parameter& parameter) {
        if (!parameter.trainable() && !parameter.quantized) bytes += parameter.value.numel() * element_bytes_;
      });
      layer_bytes = std::max(layer_bytes, bytes);
    }
    streamed_layer_ = layer_bytes + (copies() ? largest_ : 0);
  }

  bool copies() const {
    return request_.frozen_weights == FrozenWeights::kMayStreamCopied ||
           request_.frozen_weights == FrozenWeights::kStreamedCopied;
  }
  bool may_stream() const { return request_.frozen_weights != FrozenWeights::kInMemory && streamable_ > 0; }
  bool must_stream() const {
    return request_.frozen_weights == FrozenWeights::kStreamed ||
           request_.frozen_weights == FrozenWeights::kStreamedCopied;
  }
  int64_t num_layers() const { return static_cast<int64_t>(decoder_.blocks.size()); }
  int64_t streamable() const { return streamable_; }
  /// Rows of logits at a time where memory is no matter.
  int64_t loss_chunk_rows() const {
    const model::Parameter& head = decoder_.head();
    int64_t bytes = head.trainable() ? kTrainedLogitsBytes : kLogitsBytes;
    if (request_.on_gpu) bytes = kGpuLogitsBytes;
    return std::max(kSmallLossRows, bytes / (head.value.size(0) * element_bytes_));
  }
  int64_t input_bytes() const { return request_.batch_tokens * decoder_.config.hidden_size * element_bytes_; }

  /// The whole plan for what each layer keeps.
  MemoryPlan plan(const Placement& place, std::vector<Keep> keep) const {
    MemoryPlan plan;
    plan.batch_tokens = request_.batch_tokens;
    plan.weights_bytes = weights_ - (place.streamed ? streamable_ : 0);
    plan.optimizer_bytes = optimizer_;
    plan.tile_rows = place.tile_rows < request_.batch_tokens ? place.tile_rows : 0;
    plan.loss_chunk_rows = place.loss_chunk_rows;
    plan.inputs_on_disk = place.inputs_on_disk;
    plan.scratch_bytes = place.inputs_on_disk * input_bytes();
    plan.weights_streamed = place.streamed;
    plan.streamed_bytes = place.streamed ? streamable_ : 0;
    plan.keep = std::move(keep);
    const LayerMemory layer(
        decoder_, {request_.batch_tokens, place.tile_rows, place.loss_chunk_rows, request_.dropout});
    plan.program_bytes = program_bytes() + (request_.on_gpu ? gpu_scratch(place) : layer.product_scratch());
    const int64_t peak = tables() + activations(layer, place, plan);
    plan.workspace_bytes = peak - plan.inputs_bytes - plan.kept_bytes;
    return plan;
  }

 private:
  int64_t program_bytes() const {
    if (request_.on_gpu) return std::max<int64_t>(0, request_.program_bytes) + kGpuRunningBytes;
    const int64_t start = request_.program_bytes >= 0 ? request_.program_bytes : kProgramBytes;
    return start + kRunningBytes + request_.num_threads * attention_scratch();
  }

  /// Packed operands and gradients of one head in one segment, as attention's backward holds them.
  int64_t attention_scratch() const {
    const int64_t row = request_.row_tokens > 0 ? request_.row_tokens : request_.batch_tokens;
    const int64_t segment = request_.longest_segment_tokens > 0 ? request_.longest_segment_tokens : row;
    return segment * (decoder_.config.head_dim * (4 * element_bytes_ + 3 * 4) + 2 * 4);
  }

  /// What libtorch's operators hold that the CPU kernels do not: in attention's backward float32 gradients of
  /// the queries, gradients for each query head of shared keys and values, and copies of the result and its
  /// gradient; in the loss probabilities in float32; in norms and rotations float32 rows of a tile.
  int64_t gpu_scratch(const Placement& place) const {
    const model::ModelConfig& config = decoder_.config;
    const int64_t queries = request_.batch_tokens * config.num_attention_heads * config.head_dim;
    const int64_t attention = queries * (4 + 4 * element_bytes_);
    const int64_t loss_rows = std::min(place.loss_chunk_rows, request_.batch_tokens);
    const int64_t loss = loss_rows * decoder_.head().value.size(0) * 4;
    const int64_t tile = place.tile_rows > 0 ? place.tile_rows : request_.batch_tokens;
    return std::max({attention, loss, tile * config.hidden_size * 4 * 4});
  }

  /// Rotary tables and the batch itself, with its noise.
  int64_t tables() const {
    const int64_t row = request_.row_tokens > 0 ? request_.row_tokens : request_.batch_tokens;
    return row * decoder_.config.head_dim * 4 + request_.batch_tokens * kBatchBytes +
           (request_.embedding_noise ? input_bytes() : 0);
  }

  /// The most that activations hold at once; fills in what of it are inputs and kept results.
  int64_t activations(const LayerMemory& layer, const Placement& place, MemoryPlan& plan) const {
    const int64_t input = layer.input(), on_disk = place.inputs_on_disk;
    const int64_t weights = place.streamed ? streamed_layer_ : 0;
    // Inputs on their way to the disk and back, beside the one in use.
    const auto buffers = [&](int64_t i) {
      return (i < on_disk ? input : 0) + (i > 0 && i <= on_disk ? input : 0);
    };
    int64_t held = 0, peak = 0;
    for (int64_t i = 0; i < num_layers(); ++i) {
      const Keep keep = plan.keep[static_cast<size_t>(i)];
      held += layer.kept(keep) + (i < on_disk ? 0 : input);
      plan.kept_bytes += layer.kept(keep);
      plan.inputs_bytes += i < on_disk ? 0 : input;
      peak = std::max(peak, held + buffers(i) + layer.forward(keep) + weights);
    }
    peak = std::max(peak, held + (on_disk == num_layers() ? input : 0) + layer.loss());
    for (int64_t i = num_layers(); i-- > 0;) {
      const Keep keep = plan.keep[static_cast<size_t>(i)];
      peak = std::max(peak, held + buffers(i) + layer.backward(keep) + weights);
      held -= layer.kept(keep) + (i < on_disk ? 0 : input);
    }
    return peak;
  }

  const model::Decoder& decoder_;
  const PlanRequest& request_;
  int64_t element_bytes_ = 2;
  int64_t weights_ = 0, streamable_ = 0, optimizer_ = 0, largest_ = 0, streamed_layer_ = 0;
};

/// The first placement that fits when layers keep their inputs alone, or the smallest there is.
struct Found {
  Placement place;
  MemoryPlan plan;
  bool fits = false;
};
Found find_placement(const Prediction& prediction, const PlanRequest& request, Keep keep) {
  const std::vector<Keep> keeps(static_cast<size_t>(prediction.num_layers()), keep);
  Found found;
  const auto attempt = [&](const Placement& place) {
    if (found.fits) return;
    MemoryPlan plan = prediction.plan(place, keeps);
    found.fits = plan.total_bytes() <= request.budget_bytes;
    if (!found.fits && !found.plan.keep.empty() && plan.total_bytes() >= found.plan.total_bytes()) return;
    found.plan = std::move(plan);
    found.place = place;
  };
  const Placement roomy = {kTileRows, prediction.loss_chunk_rows(), 0, prediction.must_stream()};
  const Placement tight = {kSmallTileRows, kSmallLossRows, 0, prediction.must_stream()};
  const auto with_disk = [&](bool streamed) {
    if (!request.disk || keep != Keep::kInput) return;
    for (int64_t layers = 1; layers <= prediction.num_layers(); ++layers)
      attempt({kSmallTileRows, kSmallLossRows, layers, streamed});
  };
  const auto with_streaming = [&] {
    if (!prediction.may_stream() || prediction.must_stream()) return;
    attempt({kTileRows, prediction.loss_chunk_rows(), 0, true});
    attempt({kSmallTileRows, kSmallLossRows, 0, true});
  };
  attempt(roomy);
  attempt(tight);
  const bool inputs_first = prediction.input_bytes() * prediction.num_layers() < prediction.streamable();
  if (inputs_first) with_disk(prediction.must_stream());
  with_streaming();
  if (!inputs_first) with_disk(prediction.must_stream());
  if (prediction.may_stream()) with_disk(true);
  return found;
}

/// Upgrades layers from the last one down while the plan stays in its budget.
void keep_while_it_fits(const Prediction& prediction, const Placement& place, MemoryPlan& plan, Keep from,
                        Keep to, int64_t budget_bytes) {
  for (size_t layer = plan.keep.size(); layer-- > static_cast<size_t>(place.inputs_on_disk);) {
    if (plan.keep[layer] != from) continue;
    std::vector<Keep> keep = plan.keep;
    keep[layer] = to;
    MemoryPlan more = prediction.plan(place, std::move(keep));
    if (more.total_bytes() > budget_bytes) return;
    plan = std::move(more);
  }
}

/// Work that keeping something saves for each of its bytes.
struct Savings {
  double by_attention, by_everything;

  Savings(const model::Decoder& decoder, double seen_tokens) {
    const model::ModelConfig& config = decoder.config;
    const LayerMemory layer(decoder, {1, 0, 0});
    double elements = 0.0;
    model::visit_block(decoder.blocks.back(), "", [&](const std::string&, const model::Parameter& parameter) {
      if (parameter.value.dim() == 2) elements += static_cast<double>(parameter.value.numel());
    });
    const double attending =
        4.0 * static_cast<double>(config.num_attention_heads * config.head_dim) * seen_tokens;
    by_attention = attending / static_cast<double>(layer.kept(Keep::kAttention));
    by_everything = (attending + 2.0 * elements) / static_cast<double>(layer.kept(Keep::kEverything));
  }
};

/// Tokens of a micro-batch that would fit, all else being equal.
int64_t tokens_that_fit(const model::Decoder& decoder, PlanRequest request, Keep keep) {
  const auto fits = [&](int64_t tokens) {
    PlanRequest smaller = request;
    smaller.batch_tokens = tokens;
    smaller.row_tokens = std::min(tokens, request.row_tokens);
    smaller.longest_segment_tokens = std::min(tokens, request.longest_segment_tokens);
    return find_placement(Prediction(decoder, smaller), smaller, keep).fits;
  };
  int64_t low = 0, high = request.batch_tokens;
  while (high - low > std::max<int64_t>(1, low / 200)) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

[[noreturn]] void refuse(const model::Decoder& decoder, const PlanRequest& request, Keep keep,
                         const MemoryPlan& least) {
  const int64_t tokens = tokens_that_fit(decoder, request, keep);
  throw ResourceError(fmt::format(
      "[memory] expected the run to fit in {}, but it needs at least {} (weights {}, optimizer {}, program "
      "{}, "
      "the rest for {} tokens); about {} tokens per micro-batch would fit: lower --model_max_length or "
      "--per_device_train_batch_size{}, or raise --memory_budget where the machine has more",
      format_bytes(request.budget_bytes), format_bytes(least.total_bytes()),
      format_bytes(least.weights_bytes), format_bytes(least.optimizer_bytes),
      format_bytes(least.program_bytes), format_count(request.batch_tokens), format_count(tokens),
      keep == Keep::kInput ? "" : ", allow --gradient_checkpointing auto"));
}

}  // namespace

int64_t MemoryPlan::total_bytes() const {
  return weights_bytes + optimizer_bytes + inputs_bytes + kept_bytes + workspace_bytes + program_bytes;
}

std::string MemoryPlan::describe() const {
  const auto count = [&](Keep what) { return std::count(keep.begin(), keep.end(), what); };
  std::string text = fmt::format(
      "{} (weights {}, optimizer {}, layer inputs {}, kept activations {}, work space {}, program {}); of {} "
      "layers {} keep everything, {} attention, {} their input alone",
      format_bytes(total_bytes()), format_bytes(weights_bytes), format_bytes(optimizer_bytes),
      format_bytes(inputs_bytes), format_bytes(kept_bytes), format_bytes(workspace_bytes),
      format_bytes(program_bytes), keep.size(), count(Keep::kEverything), count(Keep::kAttention),
      count(Keep::kInput));
  if (tile_rows > 0) text += fmt::format("; tiles of {} rows", format_count(tile_rows));
  if (inputs_on_disk > 0)
    text += fmt::format("; inputs of {} layers on disk, {}", inputs_on_disk, format_bytes(scratch_bytes));
  if (weights_streamed)
    text +=
        fmt::format("; {} of frozen weights read from their files as needed", format_bytes(streamed_bytes));
  return text;
}

double mean_seen_tokens(const ops::SegmentPlan& plan) {
  double pairs = 0.0;
  for (const auto& bounds : plan.bounds)
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const auto length = static_cast<double>(bounds[i + 1] - bounds[i]);
      pairs += length * (length + 1.0) / 2.0;
    }
  return pairs / 2.0 / static_cast<double>(std::max<int64_t>(1, plan.num_tokens));
}

int64_t longest_segment(const ops::SegmentPlan& plan) {
  int64_t longest = 0;
  for (const auto& bounds : plan.bounds)
    for (size_t i = 0; i + 1 < bounds.size(); ++i) longest = std::max(longest, bounds[i + 1] - bounds[i]);
  return longest;
}

MemoryPlan predict_memory(const model::Decoder& decoder, const PlanRequest& request, std::vector<Keep> keep,
                          int64_t tile_rows) {
  const Prediction prediction(decoder, request);
  return prediction.plan({tile_rows, prediction.loss_chunk_rows(), 0, prediction.must_stream()},
                         std::move(keep));
}

MemoryPlan make_memory_plan(const model::Decoder& decoder, const PlanRequest& request) {
  const Prediction prediction(decoder, request);
  const Keep least = request.recompute == Recompute::kNever ? Keep::kEverything : Keep::kInput;
  const Found found = find_placement(prediction, request, least);
  if (!found.fits) refuse(decoder, request, least, found.plan);
  MemoryPlan plan = found.plan;
  if (request.recompute != Recompute::kAuto) return plan;
  const Savings savings(decoder, request.seen_tokens);
  const auto upgrade = [&](Keep from, Keep to) {
    // A graph would hold on to the copies of weights.
    if (to == Keep::kEverything && plan.weights_streamed && prediction.copies()) return;
    keep_while_it_fits(prediction, found.place, plan, from, to, request.budget_bytes);
  };
  if (savings.by_attention > savings.by_everything) upgrade(Keep::kInput, Keep::kAttention);
  upgrade(Keep::kAttention, Keep::kEverything);
  upgrade(Keep::kInput, Keep::kEverything);
  if (savings.by_attention > 0.0) upgrade(Keep::kInput, Keep::kAttention);
  return plan;
}

}  // namespace longlora::train
