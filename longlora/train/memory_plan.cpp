#include "longlora/train/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/train/layer_memory.h"
#include "longlora/train/memory_prediction.h"

namespace longlora::train {
namespace {

// Returns all placements for layers that keep this much. Those that move the fewest bytes come first.
std::vector<Placement> candidates(const Prediction& prediction, const PlanRequest& request, Keep keep) {
  std::vector<bool> streaming = {false};
  if (prediction.may_stream()) streaming.push_back(true);
  const int64_t most_inputs = request.disk && keep == Keep::kInput ? prediction.num_layers() : 0;
  std::vector<Placement> places;
  for (const StateOnDisk state : kStateChoices) {
    if (state != StateOnDisk::kNone && (!request.disk || prediction.state(state).disk == 0)) continue;
    for (const bool streamed : streaming) {
      places.push_back({kTileTokens, prediction.loss_chunk_rows(), 0, streamed, state});
      for (int64_t inputs = 0; inputs <= most_inputs; ++inputs)
        places.push_back({kSmallTileTokens, kSmallLossRows, inputs, streamed, state});
    }
  }
  std::stable_sort(places.begin(), places.end(), [&](const Placement& a, const Placement& b) {
    return prediction.moved_bytes(a) < prediction.moved_bytes(b);
  });
  return places;
}

// The first placement that fits where layers keep as little as they may, or else the one that takes the
// least.
struct Found {
  Placement place;
  MemoryPlan plan;
  bool fits = false;
};
Found find_placement(const Prediction& prediction, const PlanRequest& request, Keep keep) {
  const std::vector<Keep> keeps(static_cast<size_t>(prediction.num_layers()), keep);
  Found found;
  for (const Placement& place : candidates(prediction, request, keep)) {
    MemoryPlan plan = prediction.plan(place, keeps);
    found.fits = plan.total_bytes() <= request.budget_bytes;
    if (!found.fits && !found.plan.keep.empty() && plan.total_bytes() >= found.plan.total_bytes()) continue;
    found.plan = std::move(plan);
    found.place = place;
    if (found.fits) break;
  }
  return found;
}

// Lets layers keep more, from the last one down, while the plan stays within its budget.
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

// How much work keeping something saves for each of its bytes.
struct Savings {
  double by_attention, by_everything;

  Savings(const model::Decoder& decoder, const PlanRequest& request, const LayerMemory& layer) {
    const model::ModelConfig& config = decoder.config;
    const auto kept_per_token = [&](Keep keep) {
      return static_cast<double>(layer.phases(keep).kept) / static_cast<double>(request.batch_tokens);
    };
    double elements = 0.0;
    model::visit_block(decoder.blocks.back(), "", [&](const std::string&, const model::Parameter& parameter) {
      if (parameter.value.dim() == 2) elements += static_cast<double>(parameter.value.numel());
    });
    const double attending =
        4.0 * static_cast<double>(config.num_attention_heads * config.head_dim) * request.seen_tokens;
    by_attention = attending / kept_per_token(Keep::kAttention);
    by_everything = (attending + 2.0 * elements) / kept_per_token(Keep::kEverything);
  }
};

// Returns how many tokens of a micro-batch would fit, all else being equal.
int64_t tokens_that_fit(const model::Decoder& decoder, PlanRequest request, Keep keep) {
  const auto fits = [&](int64_t tokens) {
    PlanRequest smaller = request;
    smaller.batch_tokens = tokens;
    smaller.update_tokens = request.update_tokens / request.batch_tokens * tokens;
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
  if (tile_tokens > 0) text += fmt::format("; tiles of {} rows", format_count(tile_tokens));
  if (inputs_on_disk > 0)
    text += fmt::format("; inputs of {} layers on disk, {}", inputs_on_disk, format_bytes(scratch_bytes));
  if (weights_streamed)
    text +=
        fmt::format("; {} of frozen weights read from their files as needed", format_bytes(streamed_bytes));
  if (state_on_disk != StateOnDisk::kNone)
    text += fmt::format(
        "; {} on disk, {}",
        state_on_disk == StateOnDisk::kAll ? "masters and moments" : "the embedding, its master and moments",
        format_bytes(state_bytes));
  return text;
}

const char* state_name(StateOnDisk on_disk) {
  if (on_disk == StateOnDisk::kNone) return "none";
  return on_disk == StateOnDisk::kAll ? "all" : "embedding";
}

double mean_seen_tokens(const ops::AttentionPlan& plan) {
  double pairs = 0.0;
  for (const auto& bounds : plan.bounds)
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const auto length = static_cast<double>(bounds[i + 1] - bounds[i]);
      pairs += length * (length + 1.0) / 2.0;
    }
  return pairs / 2.0 / static_cast<double>(std::max<int64_t>(1, plan.num_tokens));
}

int64_t longest_segment(const ops::AttentionPlan& plan) {
  int64_t longest = 0;
  for (const auto& bounds : plan.bounds)
    for (size_t i = 0; i + 1 < bounds.size(); ++i) longest = std::max(longest, bounds[i + 1] - bounds[i]);
  return longest;
}

MemoryPlan make_memory_plan(const model::Decoder& decoder, const PlanRequest& request) {
  const Prediction prediction(decoder, request);
  const Keep least = request.recompute == Recompute::kNever ? Keep::kEverything : Keep::kInput;
  const Found found = find_placement(prediction, request, least);
  if (!found.fits) refuse(decoder, request, least, found.plan);
  MemoryPlan plan = found.plan;
  if (request.recompute != Recompute::kAuto) return plan;
  const Savings savings(decoder, request, prediction.layer_memory(found.place));
  const auto upgrade = [&](Keep from, Keep to) {
    // The graph of a layer that keeps everything would also keep the converted copies of its weights in
    // memory.
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
