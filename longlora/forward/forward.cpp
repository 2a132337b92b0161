#include "longlora/forward/forward.h"

#include <c10/core/GradMode.h>

#include <utility>
#include <vector>

#include "longlora/forward/tiles.h"
#include "longlora/ops/matrix_product.h"

namespace longlora::forward {
namespace {

// Returns the queries, keys and values of all tokens, which are computed tile by tile.
model::QueryKeyValue project(const model::Block& block, const model::ModelConfig& config,
                             const at::Tensor& hidden, const model::Positions& positions,
                             int64_t tile_tokens) {
  const int64_t tokens = hidden.size(0);
  TiledRows q(tokens), k(tokens), v(tokens);
  for_each_tile(tokens, tile_tokens, [&](int64_t begin, int64_t end) {
    const auto tile = model::project_query_key_value(block, config, rows_of(hidden, begin, end),
                                                     {positions.table, rows_of(positions.index, begin, end)});
    q.put(begin, end, tile.q);
    k.put(begin, end, tile.k);
    v.put(begin, end, tile.v);
  });
  return {q.take(), k.take(), v.take()};
}

// Runs what comes after attention in a layer. A tile of the output is written over its input, which nothing
// reads any more.
at::Tensor finish(const model::Block& block, const model::ModelConfig& config, const at::Tensor& hidden,
                  const at::Tensor& attention, int64_t tile_tokens) {
  const int64_t tokens = hidden.size(0);
  at::Tensor output = hidden;
  for_each_tile(tokens, tile_tokens, [&](int64_t begin, int64_t end) {
    const at::Tensor tile =
        model::finish_block(block, config, rows_of(hidden, begin, end), rows_of(attention, begin, end));
    if (end - begin == tokens)
      output = tile;
    else
      output.slice(0, begin, end).copy_(tile);
  });
  return output;
}

}  // namespace

at::Tensor run_layer(const model::Decoder& decoder, const model::Block& block, size_t index, const Rows& rows,
                     at::Tensor hidden, Attend& attend, const ForwardOptions& options) {
  const c10::NoGradGuard no_grad;
  at::Tensor attention;
  {
    auto qkv = project(block, decoder.config, hidden, rows.positions, options.tile_tokens);
    if (options.wanted_tokens) {
      qkv.q = tail_of_rows(qkv.q, rows.num_rows, *options.wanted_tokens);
      hidden = tail_of_rows(hidden, rows.num_rows, *options.wanted_tokens);
    }
    attention = attend.attend(index, block.window_tokens, qkv, /*kept=*/nullptr);
  }
  return hidden.size(0) > 0 ? finish(block, decoder.config, hidden, attention, options.tile_tokens) : hidden;
}

at::Tensor forward(const model::Decoder& decoder, const Rows& rows, Attend& attend, const LayerSource& source,
                   const ForwardOptions& options) {
  const c10::NoGradGuard no_grad;
  const size_t layers = decoder.blocks.size();
  at::Tensor hidden = model::embed(decoder, rows.ids);
  for (size_t i = 0; i < layers; ++i) {
    const Lease<model::Block> block = source.layer(decoder, i);
    source.prefetch(decoder, i + 1);
    // Attention of a later layer needs every token, so that only the last layer computes the wanted ones
    // alone.
    const ForwardOptions all = {.tile_tokens = options.tile_tokens};
    hidden = run_layer(decoder, *block, i, rows, std::move(hidden), attend, i + 1 == layers ? options : all);
  }
  const int64_t row_tokens = rows.ids.numel() / rows.num_rows;
  return layers > 0 ? hidden
                    : tail_of_rows(hidden, rows.num_rows, options.wanted_tokens.value_or(row_tokens));
}

ops::LinearCrossEntropyResult cross_entropy(const model::Decoder& decoder, const at::Tensor& hidden,
                                            const at::Tensor& labels, const LayerSource& source,
                                            const LossOptions& options) {
  const c10::NoGradGuard no_grad;
  const Lease<model::Parameter> head = source.head(decoder);
  ops::LinearCrossEntropyResult all;
  TiledRows losses(hidden.size(0));
  for_each_tile(hidden.size(0), options.tile_tokens, [&](int64_t begin, int64_t end) {
    const auto tile = ops::linear_cross_entropy(
        model::final_norm(decoder, rows_of(hidden, begin, end)), head->value, rows_of(labels, begin, end),
        {.grad_weight = {}, .chunk_rows = options.loss_chunk_rows, .want_losses = options.want_losses});
    all.loss_sum += tile.loss_sum;
    all.num_labels += tile.num_labels;
    all.num_correct += tile.num_correct;
    if (options.want_losses) losses.put(begin, end, tile.losses);
  });
  all.losses = losses.take();
  return all;
}

at::Tensor logits(const model::Decoder& decoder, const at::Tensor& hidden, const LayerSource& source) {
  const c10::NoGradGuard no_grad;
  const Lease<model::Parameter> head = source.head(decoder);
  return ops::matrix_product(model::final_norm(decoder, hidden), {head->value, /*transposed=*/true})
      .to(at::kFloat);
}

}  // namespace longlora::forward
