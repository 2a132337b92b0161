#include <fmt/core.h>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/data/token_data.h"

namespace longlora::data {

RowOrder::RowOrder(int64_t num_rows, bool shuffle, uint64_t seed)
    : num_rows_(num_rows), shuffle_(shuffle), seed_(seed) {
  if (num_rows < 1) {
    throw InputError(fmt::format(
        "[rows] expected data for at least one row, got {}; give more data or shorter rows", num_rows));
  }
}

int64_t RowOrder::row_at(int64_t position) {
  if (position < 0) throw Error(fmt::format("[rows] expected a position of at least 0, got {}", position));
  const int64_t epoch = position / num_rows_, index = position % num_rows_;
  if (!shuffle_) return index;
  if (epoch != cached_epoch_) {
    cached_order_ = permutation(num_rows_, mix_bits(seed_, static_cast<uint64_t>(epoch)));
    cached_epoch_ = epoch;
  }
  return cached_order_[static_cast<size_t>(index)];
}

}  // namespace longlora::data
