// The weights of a decoder as a decoding step reads them: pointers for kernels in place of tensors.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/ops/few_rows.h"

namespace longlora::generate {

/// A norm of float32 rows.
class StepNorm {
 public:
  StepNorm() = default;
  StepNorm(const model::Norm& norm, const model::ModelConfig& config);

  /// Writes the normed rows of x [rows, width] to y, which may be x.
  void apply(const float* x, int64_t rows, float* y) const;

 private:
  at::Tensor weight_, bias_;  // float32; the bias is undefined for an RMSNorm
  float epsilon_ = 0.0f;
};

/// What a thread multiplies: the rows that go into a linear layer, and those between the halves of a pair.
struct StepOperands {
  ops::LeftRows rows, low_rank;
};

/// A linear layer with its bias, low-rank pair and magnitude.
class StepLinear {
 public:
  StepLinear() = default;
  explicit StepLinear(const model::Linear& linear);
  static bool takes(const model::Linear& linear);

  bool is_there() const { return weight_.rows() > 0; }
  int64_t num_outputs() const { return weight_.rows(); }
  int64_t rank() const { return pair_ ? pair_->a.rows() : 0; }
  int64_t num_bytes() const;

  /// Computes rows [begin, end) of the first half of the pair: out[i · rank + j] for all rows of the operand
  /// and j in [begin, end).
  void multiply_low_rank(StepOperands& operands, int64_t begin, int64_t end, float* out) const;
  /// Computes outputs [begin, end), of which there are at most kMostOutputs: out[i · kMostOutputs + j −
  /// begin]. `low_rank` is what multiply_low_rank computed for all rows; null where there is no pair.
  void multiply(StepOperands& operands, const float* low_rank, int64_t begin, int64_t end, float* out) const;

  static constexpr int64_t kMostOutputs = 48;

 private:
  struct Pair {
    ops::RightMatrix a, b;
    float scale;
  };

  ops::RightMatrix weight_;
  at::Tensor bias_, factor_;  // float32 [out]; the factor is DoRA's. Undefined where there is none.
  std::optional<Pair> pair_;
};

/// One layer. What the form of its block does not have is absent.
struct StepLayer {
  StepNorm input_norm, post_norm, q_norm, k_norm;
  std::vector<StepLinear> projections;  // q, k and v, or what joins them
  StepLinear output;
  std::vector<StepLinear> mlp;  // gate and up, or what joins them, or up alone
  StepLinear down;
  int64_t window_tokens = 0;

  StepLayer(const model::Block& block, const model::ModelConfig& config);
};

/// Whether all linear layers of a block can be computed so.
bool step_takes(const model::Block& block);

}  // namespace longlora::generate
