#include "longlora/train/batch.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "longlora/core/error.h"
#include "longlora/ops/cross_entropy.h"

namespace longlora::train {

static_assert(data::kNoLabel == ops::kIgnoreLabel);

namespace {

// Joins one field of all rows end to end.
at::Tensor joined(const std::vector<data::TrainingRow>& rows,
                  std::vector<int64_t> data::TrainingRow::*field) {
  std::vector<int64_t> all;
  for (const data::TrainingRow& row : rows) all.insert(all.end(), (row.*field).begin(), (row.*field).end());
  return at::tensor(all, at::kLong);
}

std::vector<int64_t> document_starts(const std::vector<data::TrainingRow>& rows) {
  std::vector<int64_t> starts;
  int64_t row_start = 0;
  for (const data::TrainingRow& row : rows) {
    for (const int64_t start : row.starts) starts.push_back(row_start + start);
    row_start += static_cast<int64_t>(row.ids.size());
  }
  return starts;
}

}  // namespace

Batch make_batch(const std::vector<data::TrainingRow>& rows, const GroupRule& group_for) {
  Batch batch;
  batch.ids = joined(rows, &data::TrainingRow::ids);
  batch.labels = joined(rows, &data::TrainingRow::labels);
  batch.positions = joined(rows, &data::TrainingRow::positions);
  if (batch.labels.numel() != batch.ids.numel() || batch.positions.numel() != batch.ids.numel())
    throw Error("[batch] expected ids, labels and positions of one length in every row");
  ops::SegmentPlanOptions plan;
  plan.row_tokens = batch.ids.numel();
  plan.group_for = group_for;
  plan.document_starts = document_starts(rows);
  batch.plan = ops::make_segment_plan(plan);
  return batch;
}

Batch make_next_token_batch(const at::Tensor& ids, int64_t group_tokens) {
  if (ids.dim() != 2) throw Error("[batch] expected ids [rows, tokens]");
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  Batch batch;
  batch.ids = ids.reshape({-1});
  at::Tensor labels = at::full_like(ids, ops::kIgnoreLabel);
  labels.slice(1, 0, tokens - 1).copy_(ids.slice(1, 1, tokens));
  batch.labels = labels.reshape({-1});
  batch.positions = at::arange(tokens, ids.options()).repeat({rows});
  batch.plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = tokens, .group_tokens = group_tokens});
  return batch;
}

at::Tensor embedding_noise(const Batch& batch, const std::vector<data::TrainingRow>& rows, double alpha,
                           int64_t hidden_size, at::ScalarType dtype, uint64_t seed) {
  const int64_t num_tokens = batch.ids.numel();
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor noise = at::empty({num_tokens, hidden_size}, at::kFloat).uniform_(-1.0, 1.0, generator);
  const std::vector<int64_t> starts = document_starts(rows);
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t end = i + 1 < starts.size() ? starts[i + 1] : num_tokens;
    const auto values = static_cast<double>((end - starts[i]) * hidden_size);
    noise.slice(0, starts[i], end).mul_(alpha / std::sqrt(values));
  }
  return noise.to(dtype);
}

}  // namespace longlora::train
