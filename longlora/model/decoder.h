// The decoder: plain structs of weights, one visitor that names them, and the
// forward steps of a block.
//
// Shapes: N tokens (rows laid end to end), C hidden_size, F intermediate_size,
// H query heads, K key/value heads, D head_dim, V vocab_size, R LoRA rank.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "longlora/model/config.h"
#include "longlora/model/family.h"
#include "longlora/model/rotary.h"
#include "longlora/ops/functional.h"

namespace longlora::model {

/// Rows of a matrix.
class RowSet {
 public:
  explicit RowSet(int64_t num_rows) : places_(static_cast<size_t>(num_rows), kAbsent) {}

  /// ids [N] int64 on the CPU, each in [0, num_rows).
  void add(const at::Tensor& ids);
  void clear();
  /// In the order in which they came first.
  const std::vector<int64_t>& rows() const { return rows_; }
  bool contains(int64_t row) const { return place(row) != kAbsent; }
  /// Of a row among rows().
  int64_t place(int64_t row) const { return places_[static_cast<size_t>(row)]; }
  /// Of rows [N] int64 that are in the set; [N] int64.
  at::Tensor places(const at::Tensor& ids) const;

 private:
  static constexpr int64_t kAbsent = -1;

  std::vector<int64_t> places_;
  std::vector<int64_t> rows_;
};

/// One weight. A frozen parameter has a value alone.
struct Parameter {
  ops::Weight value;  // what the forward pass reads, in the compute dtype; four bits in linear layers alone
  at::Tensor master;  // float32, defined when trainable; the same storage as value in float32 runs
  at::Tensor grad;    // float32 accumulator, defined when trainable (of an embedding's rows: by the engine)
  /// Where set, only these rows get gradients, and grad [rows that there is room for, C] holds theirs in the
  /// set's order: whoever adds to grad notes its rows here, and zeroing, norm and update look at no others.
  std::shared_ptr<RowSet> grad_rows;

  bool trainable() const { return master.defined(); }
  /// Gives the parameter a master and a zero gradient.
  void make_trainable();
  /// Gives it a master alone: whoever adds to the gradient makes that.
  void make_master();
  /// Copies the master into the value (no-op when they are one).
  void refresh_value() { refresh_elements(0, value.numel()); }
  /// The same for these elements, in the order of memory.
  void refresh_elements(int64_t begin, int64_t end);
  /// The same for these rows of a matrix.
  void refresh_rows(const std::vector<int64_t>& rows);
};

/// A low-rank update: scale · B A.
struct LoraPair {
  Parameter a;  // [R, in]
  Parameter b;  // [out, R]
  double scale = 0.0;
  /// [out], float32 whatever the decoder computes in; undefined value without DoRA (ops/adapter_linear.h).
  Parameter magnitude;
  /// The norms that go with the magnitude, where neither weight nor pair will change any more.
  at::Tensor weight_norm;
  /// Place of the layer among the decoder's linear layers: tells its dropout from that of others.
  uint64_t place = 0;
};

/// Dropout on what the A of every pair reads, in one pass over a batch.
struct PairDropout {
  double probability = 0.0;  // 0: none
  uint64_t seed = 0;         // of the batch
  int64_t first_row = 0;     // row of the batch that is the first of the hidden states
};

/// y = x Wᵀ (+ bias) (+ low-rank update).
struct Linear {
  Parameter weight;  // [out, in]
  Parameter bias;    // [out]; undefined value without one
  std::optional<LoraPair> lora;

  ops::LinearOperands operands(const PairDropout& dropout = {}) const;
};

/// Weight and, for a LayerNorm, bias of a norm.
struct Norm {
  Parameter weight;
  Parameter bias;  // undefined value without one
};

/// One layer: attention and MLP, behind norms and residuals. What BlockForm leaves
/// out has undefined values; with a fused projection its parts have.
struct Block {
  Norm input_layernorm;  // [C]
  Linear q_proj;         // [H·D, C]
  Linear k_proj;         // [K·D, C]
  Linear v_proj;         // [K·D, C]
  Linear qkv_proj;       // [(H + 2K)·D, C], rows as QkvLayout says
  Norm q_norm;           // [D]
  Norm k_norm;           // [D]
  Linear o_proj;         // [C, H·D]
  Norm post_attention_layernorm;
  Linear gate_proj;     // [F, C]
  Linear up_proj;       // [F, C]
  Linear gate_up_proj;  // [2F, C]
  Linear down_proj;     // [C, F]

  /// Tokens of the layer's sliding window; 0: none.
  int64_t window_tokens = 0;
  /// How the checkpoint names all this; of the family, which lives as long as the program.
  const ModuleNames* names = nullptr;
};

/// Whose training state is on a disk: masters and what the optimizer keeps.
enum class StateOnDisk {
  kNone,
  kEmbedding,  // of an embedding that is looked up alone, its value too: of it few rows are needed at a time
  kAll,        // of every parameter that is not small
};

/// Where the training state of a decoder is (training_state.h).
struct StatePlace {
  StateOnDisk on_disk = StateOnDisk::kNone;
  std::filesystem::path folder = {};
};

/// A whole model. Move-only in spirit: copies share tensors. Weights that were left in their files are on the
/// meta device: a pass over the layers gets them from a forward::LayerSource.
struct Decoder {
  ModelConfig config;
  Parameter embed_tokens;  // [V, C]
  std::vector<Block> blocks;
  Norm norm;          // [C]
  Parameter lm_head;  // [V, C]; undefined value when tied to embed_tokens
  StatePlace state_place = {};
  /// Parameters whose values an adapter holds whole, with its names for them: they are written with it,
  /// whether they train or not. And layers that have its pairs ("model.layers.0.self_attn.q_proj").
  std::map<std::string, std::string> of_adapter = {};

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
                                      const Positions& positions, const PairDropout& dropout = {});

/// Second half: output projection, the MLP and the residuals.
/// attention [N, H, D]; returns [N, C].
at::Tensor finish_block(const Block& block, const ModelConfig& config, const at::Tensor& hidden,
                        const at::Tensor& attention, const PairDropout& dropout = {});

/// Rows of the embedding for ids [N] int64; [N, C].
at::Tensor embed(const Decoder& decoder, const at::Tensor& ids);

/// The last norm, before the head.
at::Tensor final_norm(const Decoder& decoder, const at::Tensor& hidden);

/// Calls visit(name, linear) for the linear layers that a block has, names below the block.
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

/// Calls visit(name, parameter) for the weight and the bias that a norm has.
template <typename NormType, typename Visit>
void visit_norm(NormType& norm, const std::string& name, const Visit& visit) {
  if (norm.weight.value.defined()) visit(name + ".weight", norm.weight);
  if (norm.bias.value.defined()) visit(name + ".bias", norm.bias);
}

/// Calls visit(name, parameter) for every parameter of one block, names as in
/// Hugging Face checkpoints; low-rank pairs are named "….q_proj.lora_A.weight", magnitudes
/// "….q_proj.lora_magnitude_vector".
template <typename BlockType, typename Visit>
void visit_block(BlockType& block, const std::string& prefix, const Visit& visit) {
  const ModuleNames& names = *block.names;
  visit_norm(block.input_layernorm, prefix + names.input_layernorm, visit);
  visit_norm(block.q_norm, prefix + names.q_norm, visit);
  visit_norm(block.k_norm, prefix + names.k_norm, visit);
  visit_norm(block.post_attention_layernorm, prefix + names.post_attention_layernorm, visit);
  visit_block_linears(block, [&](const char* name, auto& linear) {
    visit(prefix + name + ".weight", linear.weight);
    if (linear.bias.value.defined()) visit(prefix + name + ".bias", linear.bias);
    if (!linear.lora) return;
    visit(prefix + name + ".lora_A.weight", linear.lora->a);
    visit(prefix + name + ".lora_B.weight", linear.lora->b);
    if (linear.lora->magnitude.value.defined())
      visit(prefix + name + ".lora_magnitude_vector", linear.lora->magnitude);
  });
}

/// "model.layers.7."
std::string block_prefix(const ModuleNames& names, size_t index);

/// As visit_block for the whole model; a tied head is visited once, as the embedding.
template <typename DecoderType, typename Visit>
void visit_parameters(DecoderType& decoder, const Visit& visit) {
  const ModuleNames& names = decoder.config.family().names;
  visit(std::string(names.embed_tokens) + ".weight", decoder.embed_tokens);
  for (size_t i = 0; i < decoder.blocks.size(); ++i)
    visit_block(decoder.blocks[i], block_prefix(names, i), visit);
  visit_norm(decoder.norm, names.norm, visit);
  if (decoder.lm_head.value.defined()) visit(std::string(names.lm_head) + ".weight", decoder.lm_head);
}

/// Calls visit(module_name, linear) for the linear layers of every block:
/// "model.layers.0.self_attn.q_proj".
template <typename DecoderType, typename Visit>
void visit_linears(DecoderType& decoder, const Visit& visit) {
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    auto& block = decoder.blocks[i];
    const std::string prefix = block_prefix(*block.names, i);
    visit_block_linears(block, [&](const char* name, auto& linear) { visit(prefix + name, linear); });
  }
}

/// Number of elements of all parameters, of the trainable ones and of those in four bits, with the bytes of
/// the latter.
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
