#include "longlora/forward/measured_layer.h"

namespace longlora::forward {
namespace {

at::TensorOptions meta(at::ScalarType dtype) {
  return at::TensorOptions(dtype).device(at::kMeta);
}

at::Tensor shape_of(const at::Tensor& x) {
  return x.defined() ? at::empty(x.sizes(), meta(x.scalar_type())) : x;
}

ops::Weight shape_of(const ops::Weight& weight) {
  if (!weight.defined()) return weight;
  if (weight.is_nf4()) return {ops::on_device(weight.nf4(), at::kMeta), weight.scalar_type()};
  return shape_of(weight.dense()).requires_grad_(weight.requires_grad());
}

}  // namespace

model::Parameter without_values(const model::Parameter& parameter) {
  return {shape_of(parameter.value)};
}

namespace {

model::Linear without_values(const model::Linear& linear) {
  model::Linear shape = linear;
  for (model::Parameter* parameter : {&shape.weight, &shape.bias})
    *parameter = forward::without_values(*parameter);
  if (!linear.lora) return shape;
  for (model::Parameter* parameter : {&shape.lora->a, &shape.lora->b, &shape.lora->magnitude})
    *parameter = forward::without_values(*parameter);
  shape.lora->weight_norm = shape_of(linear.lora->weight_norm);
  return shape;
}

}  // namespace

model::Norm without_values(const model::Norm& norm) {
  return {without_values(norm.weight), without_values(norm.bias)};
}

model::Block without_values(const model::Block& block) {
  model::Block shape = block;
  for (model::Norm* norm :
       {&shape.input_layernorm, &shape.q_norm, &shape.k_norm, &shape.post_attention_layernorm})
    *norm = without_values(*norm);
  model::visit_block_linears(shape,
                             [](const char*, model::Linear& linear) { linear = without_values(linear); });
  return shape;
}

namespace {

int64_t rotated_pairs(const model::ModelConfig& config) {
  return static_cast<int64_t>(model::rotary_frequencies(config).inverse_frequencies.size());
}

}  // namespace

MeasuredRow::MeasuredRow(const model::ModelConfig& config, int64_t tokens)
    : segments(ops::make_segment_plan({.num_rows = 1, .row_tokens = tokens})) {
  const at::Tensor table = at::empty({1, rotated_pairs(config)}, meta(at::kFloat));
  positions = {{table, table}, at::empty({tokens}, meta(at::kLong))};
}

int64_t rotary_bytes(const model::ModelConfig& config) {
  return 2 * rotated_pairs(config) * 4;  // cosines and sines in float32
}

at::Tensor hidden_without_values(const model::Decoder& decoder, int64_t tokens) {
  return at::empty({tokens, decoder.config.hidden_size}, meta(decoder.dtype()));
}

}  // namespace longlora::forward
