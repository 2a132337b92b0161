#include "longlora/forward/rotary_tables.h"

#include <algorithm>

namespace longlora::forward {

model::RotaryTable RotaryTables::make(const model::RotaryRange& range) const {
  const model::RotaryTable table = model::make_rotary_table(decoder_.config, range);
  return {table.cos.to(device()), table.sin.to(device())};
}

model::RotaryTable RotaryTables::table(int64_t num_places) {
  const std::lock_guard lock(mutex_);
  const int64_t kept = kept_.cos.defined() ? kept_.cos.size(0) : 0;
  if (depends_on_length() ? kept != num_places : kept < num_places) kept_ = make({0, num_places, num_places});
  return kept_;
}

void RotaryTables::reserve(int64_t num_places) {
  if (!depends_on_length()) table(num_places);
}

model::Positions RotaryTables::places(const at::Tensor& index, int64_t sequence_tokens) {
  return {table(sequence_tokens), index.to(device())};
}

model::Positions RotaryTables::rows(int64_t num_rows, int64_t row_tokens) {
  const at::Tensor row = at::arange(row_tokens, at::TensorOptions(at::kLong).device(device()));
  return {table(row_tokens), row.repeat({num_rows})};
}

model::Positions RotaryTables::range(int64_t first, int64_t count, int64_t sequence_tokens) {
  const at::TensorOptions index = at::TensorOptions(at::kLong).device(device());
  if (depends_on_length()) return {make({first, count, sequence_tokens}), at::arange(count, index)};
  return {table(first + count), at::arange(first, first + count, index)};
}

}  // namespace longlora::forward
