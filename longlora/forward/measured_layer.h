// Layers whose tensors have no values. A tensors::MetaMemory counts what a pass over them would allocate.
//
// So no formula says how much memory a layer takes: its own code runs, with the widths, the block form, the
// adapter and the number of tokens that are planned for.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "longlora/model/decoder.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::forward {

/// Returns a copy of a parameter, or below of a block, whose tensors are on the meta device. What was
/// trainable still is.
model::Parameter without_values(const model::Parameter& parameter);
model::Norm without_values(const model::Norm& norm);
model::Block without_values(const model::Block& block);

/// What a layer reads beside its input, for one row of `tokens` tokens that is one segment: the places of the
/// tokens, and who sees whom. The number of rows and segments does not change how much memory tensors take,
/// so that one row stands for any batch of as many tokens.
struct MeasuredRow {
  MeasuredRow(const model::ModelConfig& config, int64_t tokens);

  model::Positions positions;
  ops::AttentionPlan segments;
};

/// Returns how many bytes the rotary tables have for each place in a row.
int64_t rotary_bytes(const model::ModelConfig& config);

/// Returns an input of a layer without values, [tokens, C].
at::Tensor hidden_without_values(const model::Decoder& decoder, int64_t tokens);

/// measure_in_tokens measures no more tiles than this. Memory is a straight line beyond, because a tensor
/// either has the size of a tile or grows with the tokens.
constexpr int64_t kMeasuredTiles = 32;

/// Returns measure(tokens), which counts the bytes of one thing or several, for `tokens` tokens in tiles of
/// `tile_tokens` (0: one tile). For more tiles than kMeasuredTiles it measures two smaller numbers of tokens
/// and extends the straight line through both.
template <typename Measure>
auto measured_at(int64_t tokens, int64_t tile_tokens, const Measure& measure) {
  const int64_t many = kMeasuredTiles * tile_tokens, few = many / 2;
  if (tile_tokens == 0 || tokens <= many) return measure(tokens);
  const auto at_few = measure(few);
  auto bytes = measure(many);
  const double beyond = static_cast<double>(tokens - many) / static_cast<double>(many - few);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] += std::llround(static_cast<double>(bytes[i] - at_few[i]) * beyond);
  return bytes;
}

}  // namespace longlora::forward
