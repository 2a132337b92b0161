// The decoder: plain structs of weights, one visitor that names them, and the
// forward steps of a block.
//
// Shapes: N tokens (rows laid end to end), C hidden_size, F intermediate_size,
// H query heads, K key/value heads, D head_dim, V vocab_size, R LoRA rank.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "longlora/model/config.h"
#include "longlora/model/family.h"
#include "longlora/model/rotary.h"
#include "longlora/ops/linear.h"
#include "longlora/ops/weight.h"

namespace longlora::model {

/// What part a parameter has in its model.
enum class ParameterRole {
  kEmbedding,
  kHead,
  kNormWeight,
  kNormBias,
  kWeight,     // of a linear layer
  kBias,       // of a linear layer
  kPairA,      // the first half of a low-rank pair
  kPairB,      // the second
  kMagnitude,  // of DoRA
};

/// Whether a parameter belongs to an adapter and not to the base model.
constexpr bool is_of_pair(ParameterRole role) {
  return role == ParameterRole::kPairA || role == ParameterRole::kPairB || role == ParameterRole::kMagnitude;
}

/// Whether a parameter has rows and columns; all others are vectors.
constexpr bool is_matrix(ParameterRole role) {
  return role == ParameterRole::kEmbedding || role == ParameterRole::kHead ||
         role == ParameterRole::kWeight || role == ParameterRole::kPairA || role == ParameterRole::kPairB;
}

/// One weight, as the forward pass reads it.
struct Parameter {
  /// The value in the dtype that is computed in, or in four bits, which only linear layers may be. Where it
  /// is trained, it is a leaf of autograd's graph.
  ops::Weight value;

  bool trainable() const { return value.defined() && value.requires_grad(); }
  /// Makes autograd compute gradients for it. Masters and moments of training are in
  /// train::TrainedParameters. Throws UsageError for a weight in four bits.
  void make_trainable();
};

/// A low-rank update of a weight: scale · B A.
struct LoraPair {
  Parameter a;  // [R, in]
  Parameter b;  // [out, R]
  double scale = 0.0;
  /// The magnitude of DoRA (ops/adapter_linear.h): [out], always float32. Its value is undefined without
  /// DoRA.
  Parameter magnitude;
  /// The norms that DoRA divides by, where they were computed in advance because neither weight nor pair will
  /// change.
  at::Tensor weight_norm;
  /// The place of the layer among the decoder's linear layers, from which it gets a dropout mask of its own.
  uint64_t place = 0;
};

/// The dropout of one pass over a batch. It acts on the input of each pair's A.
struct PairDropout {
  double probability = 0.0;  // 0: no dropout
  uint64_t seed = 0;         // the seed of this batch
  int64_t first_row = 0;     // the place in the batch of the first hidden state, for tiles
};

/// A linear layer: y = x Wᵀ, plus bias and low-rank update where it has them.
struct Linear {
  Parameter weight;  // [out, in]
  Parameter bias;    // [out]; its value is undefined where the layer has none
  std::optional<LoraPair> lora;

  ops::LinearOperands operands(const PairDropout& dropout = {}) const;
};

/// A norm: its weight, and the bias of a LayerNorm.
struct Norm {
  Parameter weight;
  Parameter bias;  // its value is undefined where the norm has none
};

/// One layer: attention and MLP with their norms. Parts that the BlockForm does not have are undefined. So
/// are separate projections where the fused one takes their place.
struct Block {
  Norm input_layernorm;  // [C]
  Linear q_proj;         // [H·D, C]
  Linear k_proj;         // [K·D, C]
  Linear v_proj;         // [K·D, C]
  Linear qkv_proj;       // [(H + 2K)·D, C], whose rows lie as QkvLayout says
  Norm q_norm;           // [D]
  Norm k_norm;           // [D]
  Linear o_proj;         // [C, H·D]
  Norm post_attention_layernorm;
  Linear gate_proj;     // [F, C]
  Linear up_proj;       // [F, C]
  Linear gate_up_proj;  // [2F, C]
  Linear down_proj;     // [C, F]

  /// The width of the layer's sliding window in tokens; 0: it has none.
  int64_t window_tokens = 0;
  /// How checkpoints name these parts. The pointer leads into the family's entry, which lives as long as the
  /// program.
  const ModuleNames* names = nullptr;
};

/// A whole model. A copy shares its tensors with the original. Weights that were left in their files are on
/// the meta device, and a pass over the layers gets them from a forward::LayerSource.
struct Decoder {
  ModelConfig config;
  Parameter embed_tokens;  // [V, C]
  std::vector<Block> blocks;
  Norm norm;          // [C]
  Parameter lm_head;  // [V, C]; its value is undefined where it is tied to embed_tokens
  /// What came with an adapter, by our names, with the adapter's own names. Parameters that it holds whole
  /// are written with it whether they are trained or not. Layers that have its pairs are here, too
  /// ("model.layers.0.self_attn.q_proj").
  std::map<std::string, std::string> of_adapter = {};

  at::ScalarType dtype() const { return embed_tokens.value.scalar_type(); }
  /// The weight of the head: lm_head, or embed_tokens where the two are tied.
  Parameter& head() { return lm_head.value.defined() ? lm_head : embed_tokens; }
  const Parameter& head() const { return lm_head.value.defined() ? lm_head : embed_tokens; }
};

/// Where the N tokens of a batch stand: the rotary tables, and for each token its row in them, [N] int64.
struct Positions {
  RotaryTable table;
  at::Tensor index;
};

/// What attention reads: rotated queries [N, H, D], rotated keys [N, K, D], and values [N, K, D].
struct QueryKeyValue {
  at::Tensor q, k, v;
};

/// Runs the first half of a block on hidden states [N, C]: norm, projections and rotation.
QueryKeyValue project_query_key_value(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                                      const Positions& positions, const PairDropout& dropout = {});

/// Runs the second half of a block on its input `hidden` [N, C] and the result of attention [N, H, D]: output
/// projection, MLP and residuals. Returns [N, C].
at::Tensor finish_block(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                        const at::Tensor& attention, const PairDropout& dropout = {});

/// Returns the rows of the embedding for ids [N] int64: [N, C].
at::Tensor embed(const Decoder& decoder, const at::Tensor& ids);

/// Applies the last norm, which comes before the head.
at::Tensor final_norm(const Decoder& decoder, const at::Tensor& hidden);

/// Calls visit(name, linear) for each linear layer that a block has. Names are relative to the block:
/// "self_attn.q_proj".
template <typename BlockType, typename Visit>
void visit_block_linears(BlockType& block, const Visit& visit) {
  const ModuleNames& names = *block.names;
  const auto visit_present = [&](const char* name, auto& linear) {
    if (linear.weight.value.defined()) visit(name, linear);
  };
  visit_present(names.q_proj, block.q_proj);
  visit_present(names.k_proj, block.k_proj);
  visit_present(names.v_proj, block.v_proj);
  visit_present(names.qkv_proj, block.qkv_proj);
  visit_present(names.o_proj, block.o_proj);
  visit_present(names.gate_proj, block.gate_proj);
  visit_present(names.up_proj, block.up_proj);
  visit_present(names.gate_up_proj, block.gate_up_proj);
  visit_present(names.down_proj, block.down_proj);
}

/// Calls visit(name, role, parameter), or visit(name, parameter) where `visit` takes no role.
template <typename Visit, typename ParameterType>
void visit_parameter(const Visit& visit, const std::string& name, ParameterRole role,
                     ParameterType& parameter) {
  if constexpr (std::is_invocable_v<const Visit&, const std::string&, ParameterRole, ParameterType&>)
    visit(name, role, parameter);
  else
    visit(name, parameter);
}

/// Visits the weight and the bias that a norm has.
template <typename NormType, typename Visit>
void visit_norm(NormType& norm, const std::string& name, const Visit& visit) {
  if (norm.weight.value.defined())
    visit_parameter(visit, name + ".weight", ParameterRole::kNormWeight, norm.weight);
  if (norm.bias.value.defined()) visit_parameter(visit, name + ".bias", ParameterRole::kNormBias, norm.bias);
}

/// Visits the weight and the bias of a linear layer and the parameters of its low-rank pair, with the names
/// that visit_block says.
template <typename LinearType, typename Visit>
void visit_linear(LinearType& linear, const std::string& name, const Visit& visit) {
  visit_parameter(visit, name + ".weight", ParameterRole::kWeight, linear.weight);
  if (linear.bias.value.defined()) visit_parameter(visit, name + ".bias", ParameterRole::kBias, linear.bias);
  if (!linear.lora) return;
  visit_parameter(visit, name + ".lora_A.weight", ParameterRole::kPairA, linear.lora->a);
  visit_parameter(visit, name + ".lora_B.weight", ParameterRole::kPairB, linear.lora->b);
  if (linear.lora->magnitude.value.defined())
    visit_parameter(visit, name + ".lora_magnitude_vector", ParameterRole::kMagnitude,
                    linear.lora->magnitude);
}

/// Calls visit(name, role, parameter), or visit(name, parameter), for every parameter of one block. Names are
/// those of Hugging Face checkpoints. Low-rank pairs are named "….q_proj.lora_A.weight", magnitudes
/// "….q_proj.lora_magnitude_vector".
template <typename BlockType, typename Visit>
void visit_block(BlockType& block, const std::string& prefix, const Visit& visit) {
  const ModuleNames& names = *block.names;
  visit_norm(block.input_layernorm, prefix + names.input_layernorm, visit);
  visit_norm(block.q_norm, prefix + names.q_norm, visit);
  visit_norm(block.k_norm, prefix + names.k_norm, visit);
  visit_norm(block.post_attention_layernorm, prefix + names.post_attention_layernorm, visit);
  visit_block_linears(block,
                      [&](const char* name, auto& linear) { visit_linear(linear, prefix + name, visit); });
}

/// "model.layers.7."
std::string block_prefix(const ModuleNames& names, size_t index);

/// The names of the weights of embedding and head in checkpoints.
std::string embedding_name(const ModelConfig& config);
std::string head_name(const ModelConfig& config);

/// As visit_block, for the whole model. A tied head is visited once, as the embedding.
template <typename DecoderType, typename Visit>
void visit_parameters(DecoderType& decoder, const Visit& visit) {
  const ModuleNames& names = decoder.config.family().names;
  visit_parameter(visit, embedding_name(decoder.config), ParameterRole::kEmbedding, decoder.embed_tokens);
  for (size_t i = 0; i < decoder.blocks.size(); ++i)
    visit_block(decoder.blocks[i], block_prefix(names, i), visit);
  visit_norm(decoder.norm, names.norm, visit);
  if (decoder.lm_head.value.defined())
    visit_parameter(visit, head_name(decoder.config), ParameterRole::kHead, decoder.lm_head);
}

/// Calls visit(name, linear) for the linear layers of every block, with names like
/// "model.layers.0.self_attn.q_proj".
template <typename DecoderType, typename Visit>
void visit_linears(DecoderType& decoder, const Visit& visit) {
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    auto& block = decoder.blocks[i];
    const std::string prefix = block_prefix(*block.names, i);
    visit_block_linears(block, [&](const char* name, auto& linear) { visit(prefix + name, linear); });
  }
}

/// How many elements all parameters have, the trainable ones, and those in four bits, and how many bytes the
/// last take.
struct ParameterCounts {
  int64_t total = 0;
  int64_t trainable = 0;
  int64_t quantized = 0;
  int64_t quantized_bytes = 0;

  double bits_per_quantized() const {
    return 8.0 * static_cast<double>(quantized_bytes) / static_cast<double>(quantized);
  }
};
ParameterCounts count_parameters(const Decoder& decoder);

}  // namespace longlora::model
