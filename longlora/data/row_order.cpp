#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/data/token_data.h"

namespace longlora::data {

namespace {

constexpr int64_t kBatchesSorted = 50;

}  // namespace

RowOrder::RowOrder(int64_t num_rows, bool shuffle, uint64_t seed)
    : num_rows_(num_rows), shuffle_(shuffle), seed_(seed) {
  if (num_rows < 1) {
    throw InputError(fmt::format(
        "[rows] expected data for at least one row, got {}; give more data or shorter rows", num_rows));
  }
}

RowOrder::RowOrder(std::vector<int64_t> row_tokens, int64_t rows_per_batch, uint64_t seed)
    : RowOrder(static_cast<int64_t>(row_tokens.size()), /*shuffle=*/true, seed) {
  if (rows_per_batch < 1)
    throw Error(fmt::format("[rows] expected a batch of at least one row, got {}", rows_per_batch));
  row_tokens_ = std::move(row_tokens);
  rows_per_batch_ = rows_per_batch;
}

void RowOrder::group_by_length(uint64_t seed) {
  const int64_t window = std::min(num_rows_, kBatchesSorted * rows_per_batch_);
  std::vector<int64_t> grouped;
  grouped.reserve(cached_order_.size());
  for (int64_t start = 0; start < num_rows_; start += window) {
    const auto begin = cached_order_.begin() + start;
    const auto end = cached_order_.begin() + std::min(num_rows_, start + window);
    std::stable_sort(begin, end, [&](int64_t a, int64_t b) {
      return row_tokens_[static_cast<size_t>(a)] > row_tokens_[static_cast<size_t>(b)];
    });
    // A batch that is not full stays the last one, so that the places of all others are whole batches.
    const int64_t num_batches = (end - begin) / rows_per_batch_;
    for (const int64_t batch : permutation(num_batches, mix_bits(seed, static_cast<uint64_t>(start))))
      grouped.insert(grouped.end(), begin + batch * rows_per_batch_, begin + (batch + 1) * rows_per_batch_);
    grouped.insert(grouped.end(), begin + num_batches * rows_per_batch_, end);
  }
  cached_order_ = std::move(grouped);
}

int64_t RowOrder::row_at(int64_t position) {
  if (position < 0) throw Error(fmt::format("[rows] expected a position of at least 0, got {}", position));
  const int64_t epoch = position / num_rows_, index = position % num_rows_;
  if (!shuffle_) return index;
  if (epoch != cached_epoch_) {
    const uint64_t epoch_seed = mix_bits(seed_, static_cast<uint64_t>(epoch));
    cached_order_ = permutation(num_rows_, epoch_seed);
    if (!row_tokens_.empty()) group_by_length(epoch_seed);
    cached_epoch_ = epoch;
  }
  return cached_order_[static_cast<size_t>(index)];
}

}  // namespace longlora::data
