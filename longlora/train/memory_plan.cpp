#include "longlora/train/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "longlora/core/error.h"
#include "longlora/core/memory.h"
#include "longlora/core/progress.h"

namespace longlora::train {
namespace {

/// Libraries, thread stacks, the pool's slack, scratch memory of matrix products.
constexpr int64_t kRuntimeBytes = int64_t{320} << 20;
/// Logits of one chunk, and where the head trains.
constexpr int64_t kLossChunkBytes = int64_t{16} << 20;
constexpr int64_t kTrainedLossChunkBytes = int64_t{64} << 20;

/// Widths of a layer, in elements.
struct Widths {
  int64_t hidden, query, key, feed_forward;
  int64_t streams;  // what goes into the activation: gate and up, or one alone
  int64_t copied;   // halves of a fused gate and up; heads before they are normed
  int64_t heads, element_bytes;

  explicit Widths(const model::Decoder& decoder)
      : hidden(decoder.config.hidden_size),
        query(decoder.config.num_attention_heads * decoder.config.head_dim),
        key(decoder.config.num_key_value_heads * decoder.config.head_dim),
        feed_forward(decoder.config.intermediate_size),
        streams(decoder.config.form.mlp == model::MlpForm::kPlain ? 1 : 2),
        copied((decoder.config.form.mlp == model::MlpForm::kFusedGated ? 2 * feed_forward : 0) +
               (decoder.config.form.query_key_norm != model::QueryKeyNorm::kNone ? query + key : 0)),
        heads(decoder.config.num_attention_heads),
        element_bytes(static_cast<int64_t>(c10::elementSize(decoder.dtype()))) {}

  /// Attention's output and log-sum-exp, for one token.
  int64_t attention_bytes() const { return query * element_bytes + heads * 4; }
  /// All that one layer's graph holds for one token beyond its input: the first norm's output;
  /// q, k, v; attention; the middle of the block; gate and up. Where the MLP trains
  /// also the second norm's output and the product of gate and up.
  int64_t everything_bytes(bool mlp_trains) const {
    const int64_t elements = 2 * hidden + query + 2 * key + streams * feed_forward + copied +
                             (mlp_trains ? hidden + feed_forward : 0);
    return elements * element_bytes + attention_bytes() + 8;
  }
  /// Live at once while a layer runs backward, beyond what its graph holds: three
  /// gradients as wide as the MLP, and the layer's own in and out.
  int64_t transient_bytes() const { return (3 * hidden + 3 * feed_forward) * element_bytes; }
  /// Multiplications and additions that recomputing the layer takes for one token.
  double matrix_flops() const {
    return 2.0 * static_cast<double>(hidden * (2 * query + 2 * key) + 3 * hidden * feed_forward);
  }
  double attention_flops(double seen_tokens) const { return 4.0 * static_cast<double>(query) * seen_tokens; }
};

/// Upgrades layers from the last one down while the plan stays in its budget.
void keep_while_it_fits(MemoryPlan& plan, Keep from, Keep to, int64_t bytes, int64_t budget_bytes) {
  for (auto layer = plan.keep.rbegin(); layer != plan.keep.rend(); ++layer) {
    if (*layer != from) continue;
    if (plan.total_bytes() + bytes > budget_bytes) return;
    *layer = to;
    plan.kept_bytes += bytes;
  }
}

int64_t loss_bytes(const model::Decoder& decoder, const Widths& widths) {
  if (!decoder.head().trainable()) return kLossChunkBytes;
  return kTrainedLossChunkBytes + decoder.head().value.numel() * widths.element_bytes;
}

}  // namespace

int64_t MemoryPlan::total_bytes() const {
  return weights_bytes + optimizer_bytes + inputs_bytes + kept_bytes + workspace_bytes;
}

std::string MemoryPlan::describe() const {
  const auto count = [&](Keep what) { return std::count(keep.begin(), keep.end(), what); };
  return fmt::format(
      "{} (weights {}, optimizer {}, layer inputs {}, kept activations {}, work space {}); of {} layers {} "
      "keep everything, {} attention, {} their input alone",
      format_bytes(total_bytes()), format_bytes(weights_bytes), format_bytes(optimizer_bytes),
      format_bytes(inputs_bytes), format_bytes(kept_bytes), format_bytes(workspace_bytes), keep.size(),
      count(Keep::kEverything), count(Keep::kAttention), count(Keep::kInput));
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

MemoryPlan make_memory_plan(const model::Decoder& decoder, int64_t batch_tokens, Recompute recompute,
                            int64_t budget_bytes, double seen_tokens) {
  const Widths widths(decoder);
  const auto layers = static_cast<int64_t>(decoder.blocks.size());
  const bool shares_masters = decoder.dtype() == at::kFloat;
  MemoryPlan plan;
  model::visit_parameters(decoder, [&](const std::string&, const model::Parameter& parameter) {
    plan.weights_bytes += parameter.value.numel() * widths.element_bytes;
    if (parameter.trainable()) plan.optimizer_bytes += parameter.value.numel() * (shares_masters ? 12 : 16);
  });
  const bool mlp_trains = decoder.blocks.back().down_proj.weight.trainable();
  const int64_t everything = batch_tokens * widths.everything_bytes(mlp_trains);
  const int64_t attention = batch_tokens * widths.attention_bytes();
  plan.inputs_bytes = batch_tokens * widths.hidden * widths.element_bytes * layers;
  const int64_t fixed_work = kRuntimeBytes + loss_bytes(decoder, widths);
  // One layer at a time runs again: all that it holds, and what its backward adds.
  plan.workspace_bytes = fixed_work + everything + batch_tokens * widths.transient_bytes();
  plan.keep.assign(static_cast<size_t>(layers), Keep::kInput);
  const int64_t least = plan.total_bytes();
  if (least > budget_bytes) {
    const int64_t fixed = plan.weights_bytes + plan.optimizer_bytes + fixed_work;
    const int64_t per_token = std::max<int64_t>(1, (least - fixed) / batch_tokens);
    throw ResourceError(
        fmt::format("[memory] expected the run to fit in {}, but it needs about {}; about {} tokens per "
                    "micro-batch would fit: lower "
                    "--model_max_length or --per_device_train_batch_size",
                    format_bytes(budget_bytes), format_bytes(least),
                    format_count(std::max<int64_t>(0, (budget_bytes - fixed) / per_token))));
  }
  if (recompute == Recompute::kAlways) return plan;
  if (recompute == Recompute::kNever) budget_bytes = std::numeric_limits<int64_t>::max();
  const double attention_flops = widths.attention_flops(seen_tokens);
  const double saved_by_attention = attention_flops / static_cast<double>(widths.attention_bytes());
  const double saved_by_everything =
      (attention_flops + widths.matrix_flops()) / static_cast<double>(widths.everything_bytes(mlp_trains));
  if (saved_by_attention > saved_by_everything)
    keep_while_it_fits(plan, Keep::kInput, Keep::kAttention, attention, budget_bytes);
  keep_while_it_fits(plan, Keep::kAttention, Keep::kEverything, everything - attention, budget_bytes);
  keep_while_it_fits(plan, Keep::kInput, Keep::kEverything, everything, budget_bytes);
  if (attention_flops > 0.0)
    keep_while_it_fits(plan, Keep::kInput, Keep::kAttention, attention, budget_bytes);
  // The last layer that would run again may as well hold the room set aside for that.
  const auto again = [](Keep keep) { return keep != Keep::kEverything; };
  if (std::count_if(plan.keep.begin(), plan.keep.end(), again) <= 1) {
    std::fill(plan.keep.begin(), plan.keep.end(), Keep::kEverything);
    plan.kept_bytes = layers * everything;
    plan.workspace_bytes -= everything;
  }
  return plan;
}

}  // namespace longlora::train
