#include "longlora/model/decoder.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/ops/activations.h"
#include "longlora/ops/norms.h"
#include "longlora/ops/rotate.h"
#include "longlora/tensors/disk_tensor.h"

namespace longlora::model {

void Parameter::make_trainable() {
  if (value.is_nf4())
    throw UsageError(
        "[quantize] expected to train what is not in four bits, got a weight that is; use low-rank pairs, or "
        "start from the model in full precision");
  value.dense().requires_grad_(true);
}

ops::LinearOperands Linear::operands(const PairDropout& dropout) const {
  ops::LinearOperands operands;
  operands.weight = weight.value;
  operands.bias = bias.value.dense();
  if (lora) {
    operands.lora_a = lora->a.value.dense();
    operands.lora_b = lora->b.value.dense();
    operands.lora_scale = lora->scale;
    operands.magnitude = lora->magnitude.value.dense();
    operands.weight_norm = lora->weight_norm;
    operands.dropout = {dropout.probability, mix_bits(dropout.seed, lora->place), dropout.first_row};
  }
  return operands;
}

namespace {

at::Tensor normalize(const at::Tensor& x, const Norm& norm, const ModelConfig& config) {
  if (config.form.norm == NormKind::kLayer)
    return ops::layer_norm(x, norm.weight.value.dense(), norm.bias.value.dense(), config.norm_eps);
  return ops::rms_norm(x, norm.weight.value.dense(), config.norm_eps);
}

// Returns queries, keys and values of normed hidden states [N, C], each [N, heads, D]. Where the projection
// is fused, they are views of its product.
QueryKeyValue project(const Block& block, const ModelConfig& config, const at::Tensor& normed,
                      const PairDropout& dropout) {
  const int64_t tokens = normed.size(0), dims = config.head_dim;
  const int64_t heads = config.num_attention_heads, kv_heads = config.num_key_value_heads;
  const auto product = [&](const Linear& linear, at::IntArrayRef shape) {
    return ops::linear(normed, linear.operands(dropout)).view(shape);
  };
  switch (config.form.qkv) {
    case QkvLayout::kConcatenated: {
      const at::Tensor all = product(block.qkv_proj, {tokens, heads + 2 * kv_heads, dims});
      const auto parts = all.split_with_sizes({heads, kv_heads, kv_heads}, 1);
      return {parts[0], parts[1], parts[2]};
    }
    case QkvLayout::kPerHead: {
      const auto parts = product(block.qkv_proj, {tokens, heads, 3, dims}).unbind(2);
      return {parts[0], parts[1], parts[2]};
    }
    default:
      return {product(block.q_proj, {tokens, heads, dims}), product(block.k_proj, {tokens, kv_heads, dims}),
              product(block.v_proj, {tokens, kv_heads, dims})};
  }
}

at::Tensor normalize_heads(const at::Tensor& x, const Norm& norm, const ModelConfig& config) {
  return normalize(x.reshape({-1, config.head_dim}), norm, config).view(x.sizes());
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  if (activation == Activation::kSilu) return at::silu(x);
  return ops::gelu(x, activation == Activation::kGelu ? ops::GeluForm::kExact : ops::GeluForm::kTanh);
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation) {
  return activation == Activation::kSilu ? ops::silu_mul(gate, up) : activate(gate, activation) * up;
}

at::Tensor mlp(const Block& block, const ModelConfig& config, const at::Tensor& x,
               const PairDropout& dropout) {
  const Activation activation = config.form.activation;
  const auto product = [&](const Linear& linear) { return ops::linear(x, linear.operands(dropout)); };
  at::Tensor middle;
  if (config.form.mlp == MlpForm::kGated) {
    middle = gated(product(block.gate_proj), product(block.up_proj), activation);
  } else if (config.form.mlp == MlpForm::kFusedGated) {
    const auto halves = product(block.gate_up_proj).chunk(2, 1);
    middle = gated(halves[0], halves[1], activation);
  } else {
    middle = activate(product(block.up_proj), activation);
  }
  return ops::linear(middle, block.down_proj.operands(dropout));
}

}  // namespace

QueryKeyValue project_query_key_value(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                                      const Positions& positions, const PairDropout& dropout) {
  QueryKeyValue qkv = project(block, config, normalize(hidden, block.input_layernorm, config), dropout);
  if (config.form.query_key_norm == QueryKeyNorm::kPerHead) {
    qkv.q = normalize_heads(qkv.q, block.q_norm, config);
    qkv.k = normalize_heads(qkv.k, block.k_norm, config);
  }
  const auto rotated = [&](const at::Tensor& x) {
    return ops::rotate(x, positions.index, positions.table.cos, positions.table.sin);
  };
  return {rotated(qkv.q), rotated(qkv.k), qkv.v};
}

at::Tensor finish_block(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                        const at::Tensor& attention, const PairDropout& dropout) {
  const at::Tensor joined = attention.reshape({hidden.size(0), config.num_attention_heads * config.head_dim});
  const at::Tensor update = ops::linear(joined, block.o_proj.operands(dropout));
  if (config.form.residual == ResidualForm::kSequential) {
    const at::Tensor middle = hidden + update;
    return middle + mlp(block, config, normalize(middle, block.post_attention_layernorm, config), dropout);
  }
  const bool shared = config.form.residual == ResidualForm::kSharedNorm;
  const Norm& norm = shared ? block.input_layernorm : block.post_attention_layernorm;
  return mlp(block, config, normalize(hidden, norm, config), dropout) + update + hidden;
}

at::Tensor embed(const Decoder& decoder, const at::Tensor& ids) {
  return tensors::select_rows(decoder.embed_tokens.value.dense().detach(), ids.reshape({-1}));
}

at::Tensor final_norm(const Decoder& decoder, const at::Tensor& hidden) {
  return normalize(hidden, decoder.norm, decoder.config);
}

std::string block_prefix(const ModuleNames& names, size_t index) {
  return fmt::format("{}{}.", names.layers, index);
}

std::string embedding_name(const ModelConfig& config) {
  return std::string(config.family().names.embed_tokens) + ".weight";
}

std::string head_name(const ModelConfig& config) {
  return std::string(config.family().names.lm_head) + ".weight";
}

ParameterCounts count_parameters(const Decoder& decoder) {
  ParameterCounts counts;
  visit_parameters(decoder, [&](const std::string&, const Parameter& parameter) {
    counts.total += parameter.value.numel();
    if (parameter.trainable()) counts.trainable += parameter.value.numel();
    if (!parameter.value.is_nf4()) return;
    counts.quantized += parameter.value.numel();
    counts.quantized_bytes += parameter.value.num_bytes();
  });
  return counts;
}

}  // namespace longlora::model
