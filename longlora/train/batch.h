// The batch that the engine takes, and how rows of data become one.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "longlora/data/training_rows.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::train {

/// One micro-batch of rows laid end to end: N = rows × row_tokens.
struct Batch {
  at::Tensor ids;        // [N] int64
  at::Tensor labels;     // [N] int64, ops::kIgnoreLabel where there is no target
  at::Tensor positions;  // [N] int64, place of the token in its row
  ops::AttentionPlan plan;
  at::Tensor embedding_noise = {};  // [N, C] added to the embeddings in training, or undefined
  model::PairDropout dropout = {};  // in training
};

/// Group of a document by its length in tokens; 0: full attention.
using GroupRule = std::function<int64_t(int64_t document_tokens)>;

/// Rows of any length laid end to end, without padding. Attention stays inside
/// each document, and groups are counted from its start.
Batch make_batch(const std::vector<data::TrainingRow>& rows, const GroupRule& group_for);

/// A batch of next-token prediction: labels are the ids one place ahead inside
/// each row. ids [rows, row_tokens] int64.
Batch make_next_token_batch(const at::Tensor& ids, int64_t group_tokens);

/// Noise for the embeddings of a batch (NEFTune, arXiv 2310.05914): uniform in
/// ±alpha / sqrt(L C) for a document of L tokens; [N, C] of `dtype`, a pure function of the seed.
at::Tensor embedding_noise(const Batch& batch, const std::vector<data::TrainingRow>& rows, double alpha,
                           int64_t hidden_size, at::ScalarType dtype, uint64_t seed);

}  // namespace longlora::train
