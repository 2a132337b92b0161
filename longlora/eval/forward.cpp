#include "longlora/eval/forward.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "longlora/core/error.h"

namespace longlora::eval {

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
  for (const model::Block& block : decoder_.blocks)
    hidden = model::forward_block(block, decoder_.config, hidden, positions, plan);
  ops::LinearCrossEntropyOptions options;
  options.want_losses = true;
  return ops::linear_cross_entropy(model::final_norm(decoder_, hidden), decoder_.head().value,
                                   labels.reshape({-1}).to(device), options);
}

}  // namespace longlora::eval
