// A forward pass through a whole decoder, layer by layer on whole rows: what faster passes are compared with.
#pragma once

#include <ATen/ATen.h>

#include "longlora/model/decoder.h"
#include "longlora/ops/attention.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::test {

/// Final hidden states [N, C] of ids [rows, tokens] under full attention, after the last norm.
inline at::Tensor hidden_states(const model::Decoder& decoder, const at::Tensor& ids) {
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  const model::Positions positions = {model::make_rotary_table(decoder.config, tokens),
                                      at::arange(tokens).repeat({rows})};
  const ops::AttentionPlan plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = tokens});
  at::Tensor hidden = model::embed(decoder, ids);
  for (const model::Block& block : decoder.blocks) {
    const auto qkv = model::project_query_key_value(block, decoder.config, hidden, positions);
    const at::Tensor attention =
        ops::attention(qkv.q, qkv.k, qkv.v, ops::with_window(plan, block.window_tokens));
    hidden = model::finish_block(block, decoder.config, hidden, attention);
  }
  return model::final_norm(decoder, hidden);
}

}  // namespace longlora::test
