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
  kSharedNorm,  // h += attention(norm1(h)) + mlp(norm1(h))
};

/// How the query, key and value projections lie in the checkpoint. A fused projection is one weight with one
/// low-rank pair. Its product is cut into the three parts; the weight stays whole.
enum class QkvLayout {
  kSeparate,      // q_proj, k_proj, v_proj
  kConcatenated,  // one weight: the rows of all query heads, then of all key heads, then of all value heads
  kPerHead,       // one weight: for each head its query, its key and its value
};

enum class QueryKeyNorm {
  kNone,
  kPerHead,  // RMSNorm before rotation: one weight [D] for all query heads, one for all key heads
};

enum class MlpForm {
  kGated,       // down(act(gate(x)) · up(x))
  kFusedGated,  // the same with gate and up in one weight, gate first
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
