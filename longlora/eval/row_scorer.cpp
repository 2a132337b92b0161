#include "longlora/eval/row_scorer.h"

#include <fmt/format.h>

#include <cmath>

#include "longlora/core/error.h"
#include "longlora/forward/forward.h"
#include "longlora/model/not_finite.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::eval {
namespace {

// The first place at which any row has a label, or the last place where none has one.
int64_t first_labelled(const at::Tensor& labels) {
  const at::Tensor places = labels.ne(ops::kIgnoreLabel).any(0).nonzero();
  return places.numel() > 0 ? places[0].item<int64_t>() : labels.size(1) - 1;
}

}  // namespace

void require_finite(const ops::LinearCrossEntropyResult& result, const model::Decoder& decoder,
                    int64_t row_tokens, const std::function<std::string(int64_t row, int64_t token)>& place) {
  if (std::isfinite(result.loss_sum)) return;
  const at::Tensor losses = result.losses.cpu();
  const at::Tensor wrong = at::isfinite(losses).logical_not().nonzero();
  const int64_t first = wrong.numel() > 0 ? wrong[0].item<int64_t>() : 0;
  throw InputError(fmt::format("[{}] expected a finite loss, got {}; {}",
                               place(first / row_tokens, first % row_tokens), losses[first].item<double>(),
                               model::explain_not_finite(decoder)));
}

RowScorer::RowScorer(const forward::ReadyDecoder& ready, int64_t max_row_tokens)
    : ready_(ready), max_row_tokens_(max_row_tokens) {
  ready_.rotary->reserve(max_row_tokens);
}

ops::LinearCrossEntropyResult RowScorer::score(const at::Tensor& ids, const at::Tensor& labels) const {
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  if (labels.sizes() != ids.sizes() || tokens > max_row_tokens_)
    throw Error(
        fmt::format("[evaluation] expected ids and labels of one shape and at most {} tokens a row, got {}",
                    max_row_tokens_, tokens));
  const at::Device device = decoder().embed_tokens.value.device();
  const ops::AttentionPlan plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = tokens});
  forward::Segments segments(plan);
  // Nothing reads the last layer at places before the first label.
  const int64_t first = first_labelled(labels);
  const at::Tensor hidden =
      forward::forward(decoder(), {ids.to(device), ready_.rotary->rows(rows, tokens), rows}, segments,
                       *ready_.source, {.tile_tokens = ready_.tile_tokens, .wanted_tokens = tokens - first});
  auto result =
      forward::cross_entropy(decoder(), hidden, labels.slice(1, first).reshape({-1}).to(device),
                             *ready_.source, {.tile_tokens = ready_.tile_tokens, .want_losses = true});
  if (first > 0)
    result.losses = at::constant_pad_nd(result.losses.view({rows, tokens - first}), {first, 0}).view(-1);
  return result;
}

}  // namespace longlora::eval
