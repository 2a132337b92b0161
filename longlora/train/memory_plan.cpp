#include "longlora/train/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/memory.h"
#include "longlora/core/progress.h"

namespace longlora::train {
namespace {

/// Libraries, thread stacks, allocator slack.
constexpr int64_t kRuntimeBytes = int64_t{400} << 20;
/// Logits of one chunk and their temporary copies.
constexpr int64_t kLossChunkBytes = int64_t{64} << 20;

/// What one layer's graph holds for one token.
int64_t kept_bytes_per_token(const model::ModelConfig& config, bool weights_train, int64_t element_bytes) {
  const int64_t query = config.num_attention_heads * config.head_dim;
  const int64_t key = config.num_key_value_heads * config.head_dim;
  // Two norms' inputs and outputs; q, k, v; attention output; gate, up (or what
  // goes into the activation alone) and, when down_proj needs its input, their
  // product; the log-sum-exp of attention.
  const int64_t before_activation = config.form.mlp == model::MlpForm::kPlain ? 1 : 2;
  int64_t elements = 4 * config.hidden_size + 2 * query + 2 * key +
                     (before_activation + (weights_train ? 1 : 0)) * config.intermediate_size;
  // The halves of a fused gate and up are copied; normed heads keep what they were.
  if (config.form.mlp == model::MlpForm::kFusedGated) elements += 2 * config.intermediate_size;
  if (config.form.query_key_norm != model::QueryKeyNorm::kNone) elements += query + key;
  return elements * element_bytes + config.num_attention_heads * 4;
}

/// What is live at once while one layer runs forward and backward, beyond what it keeps.
int64_t transient_bytes_per_token(const model::ModelConfig& config, int64_t element_bytes) {
  const int64_t query = config.num_attention_heads * config.head_dim;
  return (3 * config.hidden_size + 4 * query + 3 * config.intermediate_size) * element_bytes + query * 8;
}

}  // namespace

int64_t MemoryPlan::total_bytes() const {
  return weights_bytes + optimizer_bytes + inputs_bytes + kept_bytes + workspace_bytes;
}

std::string MemoryPlan::describe() const {
  const auto whole = std::count(keep.begin(), keep.end(), Keep::kEverything);
  return fmt::format(
      "{} (weights {}, optimizer {}, layer inputs {}, kept activations {}, work space {}); {} of {} layers "
      "keep "
      "everything, {} recompute",
      format_bytes(total_bytes()), format_bytes(weights_bytes), format_bytes(optimizer_bytes),
      format_bytes(inputs_bytes), format_bytes(kept_bytes), format_bytes(workspace_bytes), whole, keep.size(),
      static_cast<int64_t>(keep.size()) - whole);
}

MemoryPlan make_memory_plan(const model::Decoder& decoder, int64_t batch_tokens, Recompute recompute,
                            int64_t budget_bytes) {
  const model::ModelConfig& config = decoder.config;
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(decoder.dtype()));
  const auto layers = static_cast<int64_t>(decoder.blocks.size());
  const bool shares_masters = decoder.dtype() == at::kFloat;
  MemoryPlan plan;
  model::visit_parameters(decoder, [&](const std::string&, const model::Parameter& parameter) {
    plan.weights_bytes += parameter.value.numel() * element_bytes;
    if (parameter.trainable()) plan.optimizer_bytes += parameter.value.numel() * (shares_masters ? 12 : 16);
  });
  const bool weights_train = decoder.blocks.back().down_proj.weight.trainable();
  const int64_t layer_bytes = batch_tokens * kept_bytes_per_token(config, weights_train, element_bytes);
  plan.inputs_bytes = batch_tokens * config.hidden_size * element_bytes * layers;
  plan.workspace_bytes = kRuntimeBytes + kLossChunkBytes + layer_bytes +
                         batch_tokens * transient_bytes_per_token(config, element_bytes);
  plan.keep.assign(layers, Keep::kInput);
  const int64_t least = plan.total_bytes();
  if (least > budget_bytes) {
    const int64_t fixed = plan.weights_bytes + plan.optimizer_bytes + kRuntimeBytes + kLossChunkBytes;
    const int64_t per_token = std::max<int64_t>(1, (least - fixed) / batch_tokens);
    throw ResourceError(
        fmt::format("[memory] expected the run to fit in {}, but it needs about {}; about {} tokens per "
                    "micro-batch would fit: lower "
                    "--model_max_length or --per_device_train_batch_size",
                    format_bytes(budget_bytes), format_bytes(least),
                    format_count(std::max<int64_t>(0, (budget_bytes - fixed) / per_token))));
  }
  if (recompute == Recompute::kAlways) return plan;
  for (int64_t i = layers - 1; i >= 0; --i) {
    if (recompute == Recompute::kAuto && plan.total_bytes() + layer_bytes > budget_bytes) break;
    plan.keep[i] = Keep::kEverything;
    plan.kept_bytes += layer_bytes;
  }
  return plan;
}

}  // namespace longlora::train
