// Layers without values: what a pass over them allocates is counted by a tensors::MetaMemory.
//
// No formula says what a layer takes. The layer itself is run, with the widths, the block form, the adapter
// and the tokens that are planned for, on tensors that have no values.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "longlora/model/decoder.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::forward {

/// The same parameters, trainable or not, whose tensors are on the meta device.
model::Parameter without_values(const model::Parameter& parameter);
model::Norm without_values(const model::Norm& norm);
model::Block without_values(const model::Block& block);

/// What a layer reads beside its input: the places of `tokens` tokens in one row, and the row as one segment.
/// How many rows and segments there really are changes nothing in what tensors take.
struct MeasuredRow {
  MeasuredRow(const model::ModelConfig& config, int64_t tokens);

  model::Positions positions;
  ops::AttentionPlan segments;
};

/// Bytes of the rotary tables for each place in a row.
int64_t rotary_bytes(const model::ModelConfig& config);

/// An input of the layers, [tokens, C].
at::Tensor hidden_without_values(const model::Decoder& decoder, int64_t tokens);

/// With more tiles a measurement is carried on, since every tensor is either of one tile or grows with the
/// tokens.
constexpr int64_t kMeasuredTiles = 32;

/// measure(tokens), bytes of one thing or several, for tokens in tiles of `tile_rows` (0: in one). Where that
/// would be very many tiles it is measured at two numbers of tokens, and the straight line through both is
/// followed.
template <typename Measure>
auto measured_at(int64_t tokens, int64_t tile_rows, const Measure& measure) {
  const int64_t many = kMeasuredTiles * tile_rows, few = many / 2;
  if (tile_rows == 0 || tokens <= many) return measure(tokens);
  const auto at_few = measure(few);
  auto bytes = measure(many);
  const double beyond = static_cast<double>(tokens - many) / static_cast<double>(many - few);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] += std::llround(static_cast<double>(bytes[i] - at_few[i]) * beyond);
  return bytes;
}

}  // namespace longlora::forward
