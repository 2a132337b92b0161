// The choices by which decoder blocks of different families differ.
#pragma once

namespace longlora::model {

enum class NormKind {
  kRms,    // x / rms(x) · weight
  kLayer,  // (x − mean) / deviation · weight + bias
};

enum class ResidualForm {
  kSequential,  // h += attention(norm1(h)); h += mlp(norm2(h))
  kParallel,    // h += attention(norm1(h)) + mlp(norm2(h))
  kSharedNorm,  // as kParallel with norm1 for both
};

/// How the query, key and value projections lie in the checkpoint. A fused one is
/// one weight with one low-rank pair; its product is cut, never the weight.
enum class QkvLayout {
  kSeparate,      // q_proj, k_proj, v_proj
  kConcatenated,  // rows of all query heads, of all key heads, of all value heads
  kPerHead,       // head by head: its query, its key, its value
};

enum class QueryKeyNorm {
  kNone,
  kPerHead,  // one weight [D] for every query head, one for every key head, before rotation
};

enum class MlpForm {
  kGated,       // down(act(gate(x)) · up(x))
  kFusedGated,  // the same, gate and up one after the other in one weight
  kPlain,       // down(act(up(x)))
};

enum class Activation { kSilu, kGelu, kGeluTanh };

/// What a block computes, as the family and config.json say.
struct BlockForm {
  NormKind norm = NormKind::kRms;
  ResidualForm residual = ResidualForm::kSequential;
  QkvLayout qkv = QkvLayout::kSeparate;
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;
  MlpForm mlp = MlpForm::kGated;
  Activation activation = Activation::kSilu;
  bool qkv_bias = false;     // of the query, key and value projections
  bool output_bias = false;  // of the attention's output projection
  bool mlp_bias = false;     // of all projections of the MLP
};

}  // namespace longlora::model
