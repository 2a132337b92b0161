#include "longlora/train/layer_memory.h"

#include <algorithm>

namespace longlora::train {
namespace {

/// Whether the layer's backward needs its input; bytes of the low-rank product it saves, and with a magnitude
/// of the whole product.
struct SavedByLinear {
  bool input = false;
  int64_t low_rank = 0;

  SavedByLinear(const model::Linear& linear, int64_t element_bytes) {
    if (!linear.weight.value.defined()) return;
    input = linear.weight.trainable() || linear.lora;
    if (!linear.lora) return;
    low_rank = linear.lora->a.value.size(0) * element_bytes;
    if (linear.lora->magnitude.value.defined()) low_rank += linear.weight.value.size(0) * element_bytes;
  }
};

/// Bytes a row that adapter_linear.cpp holds beside operands and result: the dropped input and what is left
/// of it, the scaled product in float32 and rounded.
int64_t adapter_scratch(std::initializer_list<const model::Linear*> linears, int64_t element_bytes,
                        bool dropout) {
  int64_t most = 0;
  for (const model::Linear* linear : linears) {
    if (!linear->weight.value.defined() || !linear->lora) continue;
    const int64_t out = linear->weight.value.size(0), in = linear->weight.value.size(1);
    int64_t bytes = dropout ? 2 * in * element_bytes : 0;
    if (linear->lora->magnitude.value.defined()) bytes += out * (4 + element_bytes);
    most = std::max(most, bytes);
  }
  return most;
}

}  // namespace

LayerMemory::LayerMemory(const model::Decoder& decoder, const Shape& shape) {
  const model::ModelConfig& config = decoder.config;
  const auto element = static_cast<int64_t>(c10::elementSize(decoder.dtype()));
  tokens_ = shape.tokens;
  tile_ = shape.tile_rows > 0 ? std::min(shape.tile_rows, tokens_) : tokens_;
  hidden_ = config.hidden_size * element;
  query_ = config.num_attention_heads * config.head_dim * element;
  key_ = config.num_key_value_heads * config.head_dim * element;
  feed_forward_ = config.intermediate_size * element;
  heads_ = config.num_attention_heads;
  // A layer that trains the most; below the first one that trains nothing runs backward.
  const model::Block& block = decoder.blocks.back();
  count_saved(block, config.form, element);
  count_gradients(block, element);
  projection_scratch_ =
      adapter_scratch({&block.q_proj, &block.k_proj, &block.v_proj, &block.qkv_proj}, element, shape.dropout);
  mlp_scratch_ = adapter_scratch(
      {&block.o_proj, &block.gate_proj, &block.up_proj, &block.gate_up_proj, &block.down_proj}, element,
      shape.dropout);

  // Query heads of both halves that share a key/value head add up in float32.
  const int64_t group = heads_ / std::max<int64_t>(1, config.num_key_value_heads);
  if (group > 1 && (heads_ / 2) % group != 0) shared_key_sums_ = 2 * key_ / element * 4;

  const model::Parameter& head = decoder.head();
  vocabulary_ = head.value.size(0) * element;
  loss_rows_ = std::min(tile_, shape.loss_chunk_rows);
  head_gradient_ = head.trainable() ? head.value.numel() * element : 0;
}

void LayerMemory::count_saved(const model::Block& block, const model::BlockForm& form, int64_t element) {
  const int64_t norm_rows = form.norm == model::NormKind::kLayer ? 8 : 4;  // inverse root mean square, or two
  bool projection_input = false;
  for (const model::Linear* linear : {&block.q_proj, &block.k_proj, &block.v_proj, &block.qkv_proj}) {
    const SavedByLinear saved(*linear, element);
    projection_input = projection_input || saved.input;
    projections_saved_ += saved.low_rank;
  }
  projections_saved_ += norm_rows + (projection_input ? hidden_ : 0);
  if (form.query_key_norm != model::QueryKeyNorm::kNone) projections_saved_ += query_ + key_;
  // v is a view of the whole product unless tiles are put together.
  if (form.qkv != model::QkvLayout::kSeparate && tile_ == tokens_) projections_saved_ += query_ + key_;

  sequential_ = form.residual == model::ResidualForm::kSequential;
  mlp_streams_ = form.mlp == model::MlpForm::kPlain ? 1 : 2;
  const bool is_silu = form.activation == model::Activation::kSilu;
  extra_streams_ = (form.mlp == model::MlpForm::kFusedGated ? 2 : 0) +
                   (form.mlp != model::MlpForm::kPlain && !is_silu ? 1 : 0);
  const SavedByLinear gate(block.gate_proj, element), up(block.up_proj, element),
      gate_up(block.gate_up_proj, element), down(block.down_proj, element), out(block.o_proj, element);
  mlp_input_ = gate.input || up.input || gate_up.input;
  finish_saved_ = norm_rows + (sequential_ ? hidden_ : 0) + (mlp_input_ ? hidden_ : 0) +
                  (mlp_streams_ + extra_streams_) * feed_forward_ + (down.input ? feed_forward_ : 0) +
                  gate.low_rank + up.low_rank + gate_up.low_rank + down.low_rank + out.low_rank;
}

void LayerMemory::count_gradients(const model::Block& block, int64_t element) {
  const auto gradient = [&](std::initializer_list<const model::Linear*> linears) {
    int64_t bytes = 0;
    for (const model::Linear* linear : linears)
      if (linear->weight.trainable()) bytes += linear->weight.value.numel() * element;
    return bytes;
  };
  projection_gradient_ = gradient({&block.q_proj, &block.k_proj, &block.v_proj, &block.qkv_proj});
  down_gradient_ = gradient({&block.down_proj});
  mlp_gradient_ =
      down_gradient_ + gradient({&block.gate_proj, &block.up_proj, &block.gate_up_proj, &block.o_proj});
}

int64_t LayerMemory::everything_per_token() const {
  return projections_saved_ + query_ + 2 * key_ + attention_per_token() + finish_saved_;
}

int64_t LayerMemory::kept(Keep keep) const {
  if (keep == Keep::kInput) return 0;
  return tokens_ * (keep == Keep::kAttention ? attention_per_token() : everything_per_token());
}

int64_t LayerMemory::forward(Keep keep) const {
  const int64_t attention = tokens_ * attention_per_token(), qkv = tokens_ * (query_ + 2 * key_);
  const int64_t tile =
      tile_ * (4 * hidden_ + (mlp_streams_ + extra_streams_ + 1) * feed_forward_ + mlp_scratch_);
  const int64_t output = tokens_ * hidden_;
  const int64_t projecting = qkv + tile_ * (hidden_ + query_ + key_ + projection_scratch_);
  switch (keep) {
    case Keep::kInput:
      return std::max({projecting, qkv + attention, attention + output + tile});
    case Keep::kAttention:
      return std::max({projecting, qkv, output + tile});
    default:
      return output + tile_ * (3 * hidden_ + feed_forward_ + mlp_scratch_);
  }
}

int64_t LayerMemory::finish_backward(bool again) const {
  const int64_t normed = mlp_input_ ? hidden_ : 0, middle = sequential_ ? hidden_ : 0;
  const int64_t streams = (mlp_streams_ + extra_streams_) * feed_forward_;
  // What the graph of one tile holds, unless it is counted as kept.
  const int64_t held = again ? streams + normed + middle : 0;
  // The end of its forward: attention's projection, the middle, its norm, the MLP's product and result.
  const int64_t forward =
      again ? held + 2 * hidden_ + feed_forward_ + (sequential_ ? 0 : hidden_) + (mlp_input_ ? 0 : hidden_)
            : 0;
  // Gradients of gate and up beside that of their product; then of the norm's result, twice.
  const int64_t gates = held + (1 + mlp_streams_) * feed_forward_;
  const int64_t norms = held - (again ? streams : 0) + mlp_streams_ * feed_forward_ + 3 * hidden_;
  return tile_ * mlp_scratch_ +
         std::max({tile_ * forward, tile_ * gates + down_gradient_, tile_ * norms + mlp_gradient_});
}

int64_t LayerMemory::backward(Keep keep) const {
  const bool again = keep != Keep::kEverything;
  const int64_t qkv = query_ + 2 * key_;
  // The layer's graph, made again; what was kept is counted elsewhere.
  int64_t graph = again ? projections_saved_ + qkv : 0;
  if (keep == Keep::kInput) graph += attention_per_token();
  const int64_t attention_grad = tile_ < tokens_ ? query_ : 0;  // before the last tile's
  const int64_t finishing = tokens_ * (graph + attention_grad) + finish_backward(again);
  // By then the second half of the layer is gone, and then attention.
  const int64_t gone = again ? 0 : finish_saved_;
  const int64_t attending = tokens_ * (graph + query_ + qkv + shared_key_sums_ - gone);
  const int64_t left = again ? projections_saved_ : -(finish_saved_ + attention_per_token() + qkv);
  const int64_t projecting = tokens_ * (left + qkv) +
                             tile_ * (query_ + key_ + 3 * hidden_ + projection_scratch_) +
                             projection_gradient_;
  return tokens_ * hidden_ + std::max({finishing, attending, projecting});
}

int64_t LayerMemory::product_scratch() const {
  return std::max(head_gradient_ > 0 ? loss_rows_ * vocabulary_ : 0,
                  mlp_gradient_ > 0 ? tile_ * feed_forward_ : 0);
}

int64_t LayerMemory::loss() const {
  const int64_t chunk = loss_rows_ * (vocabulary_ + 2 * hidden_);
  return tokens_ * hidden_ + std::max(tile_ * 3 * hidden_, tile_ * 2 * hidden_ + chunk + head_gradient_);
}

}  // namespace longlora::train
