#include "longlora/eval/forward.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "longlora/core/error.h"
#include "longlora/model/not_finite.h"
#include "longlora/ops/segment_attention.h"

namespace longlora::eval {
namespace {

/// The first place that any row has a label at; the last place where none has one.
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

RowScorer::RowScorer(const model::Decoder& decoder, int64_t max_row_tokens)
    : decoder_(decoder), rotary_(rotary_table(max_row_tokens)) {}

model::RotaryTable RowScorer::rotary_table(int64_t row_tokens) const {
  const model::RotaryTable table = model::make_rotary_table(decoder_.config, row_tokens);
  const at::Device device = decoder_.embed_tokens.value.device();
  return {table.cos.to(device), table.sin.to(device)};
}

ops::LinearCrossEntropyResult RowScorer::score(const at::Tensor& ids, const at::Tensor& labels) const {
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  if (labels.sizes() != ids.sizes() || tokens > rotary_.cos.size(0))
    throw Error(
        fmt::format("[evaluation] expected ids and labels of one shape and at most {} tokens a row, got {}",
                    rotary_.cos.size(0), tokens));
  const c10::NoGradGuard no_grad;
  const at::Device device = decoder_.embed_tokens.value.device();
  // The table of the longest rows is not that of shorter ones where the angles depend on the length.
  const bool own_table = model::depends_on_length(decoder_.config.rope_scaling.type);
  const model::Positions positions = {
      own_table ? rotary_table(tokens) : rotary_,
      at::arange(tokens, at::TensorOptions(at::kLong).device(device)).repeat({rows})};
  const ops::SegmentPlan plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = tokens});
  at::Tensor hidden = model::embed(decoder_, ids.to(device));
  for (size_t i = 0; i + 1 < decoder_.blocks.size(); ++i)
    hidden = model::forward_block(decoder_.blocks[i], decoder_.config, hidden, positions, plan);
  const int64_t first = first_labelled(labels);
  hidden = last_block(hidden, positions, plan, rows, first);
  ops::LinearCrossEntropyOptions options;
  options.want_losses = true;
  const auto scored = labels.slice(1, first).reshape({-1}).to(device);
  auto result =
      ops::linear_cross_entropy(model::final_norm(decoder_, hidden), decoder_.head().value, scored, options);
  if (first > 0)
    result.losses = at::constant_pad_nd(result.losses.view({rows, tokens - first}), {first, 0}).view(-1);
  return result;
}

at::Tensor RowScorer::last_block(const at::Tensor& hidden, const model::Positions& positions,
                                 const ops::SegmentPlan& plan, int64_t rows, int64_t first) const {
  const int64_t tokens = hidden.size(0) / rows;
  // The places from `first` on of each row.
  const auto tail = [&](const at::Tensor& x) {
    std::vector<int64_t> by_row = {rows, tokens}, joined = {rows * (tokens - first)};
    by_row.insert(by_row.end(), x.sizes().begin() + 1, x.sizes().end());
    joined.insert(joined.end(), x.sizes().begin() + 1, x.sizes().end());
    return x.reshape(by_row).slice(1, first).reshape(joined);
  };
  if (decoder_.blocks.empty()) return tail(hidden);
  const model::Block& block = decoder_.blocks.back();
  const auto qkv = model::project_query_key_value(block, decoder_.config, hidden, positions);
  if (first == 0 || !ops::has_tail_attention(qkv.q)) {
    const at::Tensor attention =
        ops::segment_attention(qkv.q, qkv.k, qkv.v, ops::with_window(plan, block.window_tokens));
    return tail(model::finish_block(block, decoder_.config, hidden, attention));
  }
  const at::Tensor attention = ops::tail_attention(tail(qkv.q), qkv.k, qkv.v, rows, block.window_tokens);
  return model::finish_block(block, decoder_.config, tail(hidden), attention);
}

}  // namespace longlora::eval
