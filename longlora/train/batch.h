// The batch that the engine takes, and the functions that make one of rows of data.
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
  at::Tensor labels;     // [N] int64; ops::kIgnoreLabel where a token has no target
  at::Tensor positions;  // [N] int64, the place of each token in its row
  ops::AttentionPlan plan;
  at::Tensor embedding_noise = {};  // [N, C], added to the embeddings in training; undefined: no noise
  model::PairDropout dropout = {};  // of low-rank pairs in training
};

/// A function that returns the group size of shifted sparse attention for a document of that many tokens; 0:
/// full attention.
using GroupRule = std::function<int64_t(int64_t document_tokens)>;

/// Makes a batch of rows of any length, which are laid end to end without padding. Attention stays inside
/// each document, and groups are counted from the document's first token.
Batch make_batch(const std::vector<data::TrainingRow>& rows, const GroupRule& group_for);

/// Makes a batch of next-token prediction of ids [rows, row_tokens] int64: the label of a token is the next
/// id of its row.
Batch make_next_token_batch(const at::Tensor& ids, int64_t group_tokens);

/// Returns the noise for the embeddings of a batch (NEFTune, arXiv 2310.05914): [N, C] of `dtype`, uniform in
/// ±alpha / sqrt(L C) for a document of L tokens. For a batch it depends on the seed alone.
at::Tensor embedding_noise(const Batch& batch, const std::vector<data::TrainingRow>& rows, double alpha,
                           int64_t hidden_size, at::ScalarType dtype, uint64_t seed);

}  // namespace longlora::train
