// The decoder: plain structs of weights, one visitor that names them, and the
// forward steps of a block.
//
// Shapes: N tokens (rows laid end to end), C hidden_size, F intermediate_size,
// H query heads, K key/value heads, D head_dim, V vocab_size, R LoRA rank.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "longlora/model/config.h"
#include "longlora/model/rotary.h"
#include "longlora/ops/functional.h"
#include "longlora/ops/segment_attention.h"
#include "longlora/ops/segment_plan.h"

namespace longlora::model {

/// Rows of a matrix.
class RowSet {
 public:
  explicit RowSet(int64_t num_rows) : contains_(static_cast<size_t>(num_rows), false) {}

  /// ids [N] int64 on the CPU, each in [0, num_rows).
  void add(const at::Tensor& ids);
  void clear();
  /// In the order in which they came first.
  const std::vector<int64_t>& rows() const { return rows_; }
  bool contains(int64_t row) const { return contains_[static_cast<size_t>(row)]; }

 private:
  std::vector<bool> contains_;
  std::vector<int64_t> rows_;
};

/// One weight. A frozen parameter has a value alone.
struct Parameter {
  at::Tensor value;   // what the forward pass reads, in the compute dtype
  at::Tensor master;  // float32, defined when trainable; the same storage as value in float32 runs
  at::Tensor grad;    // float32 accumulator, defined when trainable
  /// Where set, only these rows of grad can differ from zero: whoever adds to
  /// grad notes its rows here, and zeroing, norm and update look at no others.
  std::shared_ptr<RowSet> grad_rows;

  bool trainable() const { return master.defined(); }
  /// Gives the parameter a master and a zero gradient.
  void make_trainable();
  /// Copies the master into the value (no-op when they are one).
  void refresh_value();
  /// The same for these rows of a matrix.
  void refresh_rows(const std::vector<int64_t>& rows);
};

/// A low-rank update: scale · B A.
struct LoraPair {
  Parameter a;  // [R, in]
  Parameter b;  // [out, R]
  double scale = 0.0;
};

/// y = x Wᵀ (+ low-rank update).
struct Linear {
  Parameter weight;  // [out, in]
  std::optional<LoraPair> lora;

  ops::LinearOperands operands() const;
};

/// One layer: attention and gated MLP, each behind a norm and a residual.
struct Block {
  Parameter input_layernorm;  // [C]
  Linear q_proj;              // [H·D, C]
  Linear k_proj;              // [K·D, C]
  Linear v_proj;              // [K·D, C]
  Linear o_proj;              // [C, H·D]
  Parameter post_attention_layernorm;
  Linear gate_proj;  // [F, C]
  Linear up_proj;    // [F, C]
  Linear down_proj;  // [C, F]
};

/// A whole model. Move-only in spirit: copies share tensors.
struct Decoder {
  ModelConfig config;
  Parameter embed_tokens;  // [V, C]
  std::vector<Block> blocks;
  Parameter norm;     // [C]
  Parameter lm_head;  // [V, C]; undefined value when tied to embed_tokens

  at::ScalarType dtype() const { return embed_tokens.value.scalar_type(); }
  /// The head's weight: lm_head, or embed_tokens when tied.
  Parameter& head() { return lm_head.value.defined() ? lm_head : embed_tokens; }
  const Parameter& head() const { return lm_head.value.defined() ? lm_head : embed_tokens; }
};

/// Rotary tables and the positions [N] int64 of the tokens of a batch.
struct Positions {
  RotaryTable table;
  at::Tensor index;
};

/// Rotated queries [N, H, D] and keys [N, K, D], and values [N, K, D].
struct QueryKeyValue {
  at::Tensor q, k, v;
};

/// First half of a block: norm, projections, rotation. hidden [N, C].
QueryKeyValue project_query_key_value(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                                      const Positions& positions);

/// Second half: output projection and residual, then the MLP and its residual.
/// attention [N, H, D]; returns [N, C].
at::Tensor finish_block(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                        const at::Tensor& attention);

/// A whole block with attention inside the plan's segments; `kept` as in ops::segment_attention.
at::Tensor forward_block(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                         const Positions& positions, const ops::SegmentPlan& plan,
                         ops::KeptAttention* kept = nullptr);

/// Rows of the embedding for ids [N] int64; [N, C].
at::Tensor embed(const Decoder& decoder, const at::Tensor& ids);

/// The last norm, before the head.
at::Tensor final_norm(const Decoder& decoder, const at::Tensor& hidden);

/// Calls visit(name, parameter) for every parameter of one block, names as in
/// Hugging Face checkpoints; low-rank pairs are named "….q_proj.lora_A.weight".
template <typename BlockType, typename Visit>
void visit_block(BlockType& block, const std::string& prefix, const Visit& visit) {
  const auto visit_linear = [&](const char* name, auto& linear) {
    visit(prefix + name + ".weight", linear.weight);
    if (!linear.lora) return;
    visit(prefix + name + ".lora_A.weight", linear.lora->a);
    visit(prefix + name + ".lora_B.weight", linear.lora->b);
  };
  visit(prefix + "input_layernorm.weight", block.input_layernorm);
  visit_linear("self_attn.q_proj", block.q_proj);
  visit_linear("self_attn.k_proj", block.k_proj);
  visit_linear("self_attn.v_proj", block.v_proj);
  visit_linear("self_attn.o_proj", block.o_proj);
  visit(prefix + "post_attention_layernorm.weight", block.post_attention_layernorm);
  visit_linear("mlp.gate_proj", block.gate_proj);
  visit_linear("mlp.up_proj", block.up_proj);
  visit_linear("mlp.down_proj", block.down_proj);
}

/// "model.layers.7."
std::string block_prefix(size_t index);

/// As visit_block for the whole model; a tied head is visited once, as model.embed_tokens.weight.
template <typename DecoderType, typename Visit>
void visit_parameters(DecoderType& decoder, const Visit& visit) {
  visit(std::string("model.embed_tokens.weight"), decoder.embed_tokens);
  for (size_t i = 0; i < decoder.blocks.size(); ++i) visit_block(decoder.blocks[i], block_prefix(i), visit);
  visit(std::string("model.norm.weight"), decoder.norm);
  if (decoder.lm_head.value.defined()) visit(std::string("lm_head.weight"), decoder.lm_head);
}

/// Calls visit(module_name, linear) for the seven linear layers of every block:
/// "model.layers.0.self_attn.q_proj".
template <typename DecoderType, typename Visit>
void visit_linears(DecoderType& decoder, const Visit& visit) {
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    auto& block = decoder.blocks[i];
    const std::string prefix = block_prefix(i);
    visit(prefix + "self_attn.q_proj", block.q_proj);
    visit(prefix + "self_attn.k_proj", block.k_proj);
    visit(prefix + "self_attn.v_proj", block.v_proj);
    visit(prefix + "self_attn.o_proj", block.o_proj);
    visit(prefix + "mlp.gate_proj", block.gate_proj);
    visit(prefix + "mlp.up_proj", block.up_proj);
    visit(prefix + "mlp.down_proj", block.down_proj);
  }
}

/// Number of elements of all parameters and of the trainable ones.
struct ParameterCounts {
  int64_t total = 0;
  int64_t trainable = 0;
};
ParameterCounts count_parameters(const Decoder& decoder);

}  // namespace longlora::model
