#include "longlora/model/decoder.h"

#include <fmt/format.h>

#include "longlora/ops/segment_attention.h"

namespace longlora::model {

void RowSet::add(const at::Tensor& ids) {
  const int64_t* id = ids.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < ids.numel(); ++n) {
    if (contains(id[n])) continue;
    contains_[static_cast<size_t>(id[n])] = true;
    rows_.push_back(id[n]);
  }
}

void RowSet::clear() {
  for (const int64_t row : rows_) contains_[static_cast<size_t>(row)] = false;
  rows_.clear();
}

void Parameter::make_trainable() {
  master = value.to(at::kFloat);  // the same tensor when value is float32 already
  grad = at::zeros_like(master);
  value.requires_grad_(true);
}

void Parameter::refresh_value() {
  if (value.is_same(master)) return;
  // detach() shares storage and is outside autograd: a leaf may be updated through it.
  value.detach().copy_(master);
}

void Parameter::refresh_rows(const std::vector<int64_t>& rows) {
  if (value.is_same(master) || rows.empty()) return;
  // In pieces, so that the gathered rows stay small.
  constexpr int64_t kRowsAtOnce = 1024;
  const at::Tensor index = at::tensor(rows, at::kLong);
  for (int64_t begin = 0; begin < index.numel(); begin += kRowsAtOnce) {
    const at::Tensor some = index.slice(0, begin, std::min(begin + kRowsAtOnce, index.numel()));
    value.detach().index_copy_(0, some, master.index_select(0, some).to(value.scalar_type()));
  }
}

ops::LinearOperands Linear::operands() const {
  ops::LinearOperands operands;
  operands.weight = weight.value;
  if (lora) {
    operands.lora_a = lora->a.value;
    operands.lora_b = lora->b.value;
    operands.lora_scale = lora->scale;
  }
  return operands;
}

QueryKeyValue project_query_key_value(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                                      const Positions& positions) {
  const at::Tensor normed = ops::rms_norm(hidden, block.input_layernorm.value, config.rms_norm_eps);
  const int64_t tokens = hidden.size(0);
  const auto heads = [&](const Linear& linear, int64_t num_heads) {
    return ops::linear(normed, linear.operands()).view({tokens, num_heads, config.head_dim});
  };
  const auto rotated = [&](const at::Tensor& x) {
    return ops::rotate(x, positions.index, positions.table.cos, positions.table.sin);
  };
  return {rotated(heads(block.q_proj, config.num_attention_heads)),
          rotated(heads(block.k_proj, config.num_key_value_heads)),
          heads(block.v_proj, config.num_key_value_heads)};
}

at::Tensor finish_block(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                        const at::Tensor& attention) {
  const at::Tensor joined = attention.reshape({hidden.size(0), config.num_attention_heads * config.head_dim});
  const at::Tensor middle = hidden + ops::linear(joined, block.o_proj.operands());
  const at::Tensor normed = ops::rms_norm(middle, block.post_attention_layernorm.value, config.rms_norm_eps);
  const at::Tensor gated = ops::silu_mul(ops::linear(normed, block.gate_proj.operands()),
                                         ops::linear(normed, block.up_proj.operands()));
  return middle + ops::linear(gated, block.down_proj.operands());
}

at::Tensor forward_block(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                         const Positions& positions, const ops::SegmentPlan& plan, ops::KeptAttention* kept) {
  const QueryKeyValue qkv = project_query_key_value(block, config, hidden, positions);
  return finish_block(block, config, hidden, ops::segment_attention(qkv.q, qkv.k, qkv.v, plan, kept));
}

at::Tensor embed(const Decoder& decoder, const at::Tensor& ids) {
  return decoder.embed_tokens.value.detach().index_select(0, ids.reshape({-1}));
}

at::Tensor final_norm(const Decoder& decoder, const at::Tensor& hidden) {
  return ops::rms_norm(hidden, decoder.norm.value, decoder.config.rms_norm_eps);
}

std::string block_prefix(size_t index) {
  return fmt::format("model.layers.{}.", index);
}

ParameterCounts count_parameters(const Decoder& decoder) {
  ParameterCounts counts;
  visit_parameters(decoder, [&](const std::string&, const Parameter& parameter) {
    counts.total += parameter.value.numel();
    if (parameter.trainable()) counts.trainable += parameter.value.numel();
  });
  return counts;
}

}  // namespace longlora::model
