#include "longlora/generate/step_weights.h"

#include <array>

#include "longlora/generate/step_decoder.h"
#include "longlora/ops/adapter_linear.h"
#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::generate {
namespace {

at::Tensor in_float(const at::Tensor& x) {
  return x.defined() ? x.detach().to(at::kFloat).contiguous() : x;
}

}  // namespace

StepNorm::StepNorm(const model::Norm& norm, const model::ModelConfig& config)
    : weight_(in_float(norm.weight.value.dense())),
      bias_(in_float(norm.bias.value.dense())),
      epsilon_(static_cast<float>(config.norm_eps)) {}

void StepNorm::apply(const float* x, int64_t rows, float* y) const {
  const auto& kernels = ops::cpu::row_kernels<float>();
  const float* const weight = weight_.const_data_ptr<float>();
  const int64_t width = weight_.size(0);
  float unused[2];
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    if (bias_.defined())
      kernels.layer_norm_forward(x, weight, bias_.const_data_ptr<float>(), y, &unused[0], &unused[1], 1,
                                 width, epsilon_);
    else
      kernels.rms_norm_forward(x, weight, y, unused, 1, width, epsilon_);
  }
}

bool StepLinear::takes(const model::Linear& linear) {
  if (!ops::RightMatrix::takes(linear.weight.value)) return false;
  return !linear.lora ||
         (ops::RightMatrix::takes(linear.lora->a.value) && ops::RightMatrix::takes(linear.lora->b.value));
}

StepLinear::StepLinear(const model::Linear& linear)
    : weight_(linear.weight.value), bias_(in_float(linear.bias.value.dense())) {
  if (!linear.lora) return;
  const model::LoraPair& lora = *linear.lora;
  pair_ =
      Pair{ops::RightMatrix(lora.a.value), ops::RightMatrix(lora.b.value), static_cast<float>(lora.scale)};
  if (!lora.magnitude.value.defined()) return;
  const at::Tensor norm =
      lora.weight_norm.defined() ? lora.weight_norm : ops::adapted_weight_norm(linear.operands());
  factor_ = in_float(lora.magnitude.value.dense() / norm);
}

int64_t StepLinear::num_bytes() const {
  return weight_.num_bytes() + (pair_ ? pair_->a.num_bytes() + pair_->b.num_bytes() : 0);
}

void StepLinear::multiply_low_rank(StepOperands& operands, int64_t begin, int64_t end, float* out) const {
  pair_->a.multiply(operands.rows, begin, end, out + begin, rank());
}

void StepLinear::multiply(StepOperands& operands, const float* low_rank, int64_t begin, int64_t end,
                          float* out) const {
  const int64_t m = operands.rows.rows(), n = end - begin;
  weight_.multiply(operands.rows, begin, end, out, kMostOutputs);
  std::array<float, StepDecoder::kMostRows * kMostOutputs> update;
  if (pair_) {
    operands.low_rank.set(low_rank, m, rank(), rank());
    pair_->b.multiply(operands.low_rank, begin, end, update.data(), kMostOutputs);
  }
  const float* const factor = factor_.defined() ? factor_.const_data_ptr<float>() + begin : nullptr;
  const float* const bias = bias_.defined() ? bias_.const_data_ptr<float>() + begin : nullptr;
  for (int64_t r = 0; r < m; ++r) {
    float* const row = out + r * kMostOutputs;
    for (int64_t j = 0; pair_ && j < n; ++j) row[j] += pair_->scale * update[r * kMostOutputs + j];
    for (int64_t j = 0; factor != nullptr && j < n; ++j) row[j] *= factor[j];
    for (int64_t j = 0; bias != nullptr && j < n; ++j) row[j] += bias[j];
  }
}

StepLayer::StepLayer(const model::Block& block, const model::ModelConfig& config)
    : input_norm(block.input_layernorm, config),
      output(block.o_proj),
      down(block.down_proj),
      window_tokens(block.window_tokens) {
  if (block.post_attention_layernorm.weight.value.defined())
    post_norm = StepNorm(block.post_attention_layernorm, config);
  if (config.form.query_key_norm == model::QueryKeyNorm::kPerHead) {
    q_norm = StepNorm(block.q_norm, config);
    k_norm = StepNorm(block.k_norm, config);
  }
  const auto add_present = [](std::vector<StepLinear>& to, const model::Linear& linear) {
    if (linear.weight.value.defined()) to.emplace_back(linear);
  };
  for (const auto* linear : {&block.q_proj, &block.k_proj, &block.v_proj, &block.qkv_proj})
    add_present(projections, *linear);
  for (const auto* linear : {&block.gate_proj, &block.up_proj, &block.gate_up_proj})
    add_present(mlp, *linear);
}

bool step_takes(const model::Block& block) {
  bool takes = true;
  model::visit_block_linears(
      block, [&](const char*, const model::Linear& linear) { takes = takes && StepLinear::takes(linear); });
  return takes;
}

}  // namespace longlora::generate
