// Rows of data as the batch that the engine takes.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "longlora/data/training_rows.h"
#include "longlora/train/engine.h"

namespace longlora::train {

/// Group of a document by its length in tokens; 0: full attention.
using GroupRule = std::function<int64_t(int64_t document_tokens)>;

/// Rows of any length laid end to end, without padding. Attention stays inside
/// each document, and groups are counted from its start.
Batch make_batch(const std::vector<data::TrainingRow>& rows, const GroupRule& group_for);

/// Noise for the embeddings of a batch (NEFTune, arXiv 2310.05914): uniform in
/// ±alpha / sqrt(L C) for a document of L tokens; [N, C] of `dtype`, a pure function of the seed.
at::Tensor embedding_noise(const Batch& batch, const std::vector<data::TrainingRow>& rows, double alpha,
                           int64_t hidden_size, at::ScalarType dtype, uint64_t seed);

}  // namespace longlora::train
