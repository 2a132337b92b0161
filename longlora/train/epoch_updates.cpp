#include "longlora/train/epoch_updates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"

namespace longlora::train {
namespace {

int64_t quotient_rounded_up(int64_t a, int64_t b) {
  return a / b + (a % b > 0 ? 1 : 0);
}

}  // namespace

EpochUpdates::EpochUpdates(const EpochShape& shape) : shape_(shape) {
  if (shape.num_rows < 1 || shape.rows_per_batch < 1 || shape.batches_per_update < 1)
    throw Error(fmt::format("[epoch] expected rows, batches and updates of at least one, got {}, {} and {}",
                            shape.num_rows, shape.rows_per_batch, shape.batches_per_update));
  rows_per_epoch_ = shape.num_rows;
  if (shape.drop_last_batch) rows_per_epoch_ -= shape.num_rows % shape.rows_per_batch;
  if (rows_per_epoch_ == 0)
    throw UsageError(fmt::format(
        "[--dataloader_drop_last] expected at least one batch of --per_device_train_batch_size {}, got {} "
        "rows in all; make the batch smaller or keep the last one",
        shape.rows_per_batch, shape.num_rows));
  batches_per_epoch_ = quotient_rounded_up(rows_per_epoch_, shape.rows_per_batch);
  updates_per_epoch_ = quotient_rounded_up(batches_per_epoch_, shape.batches_per_update);
}

int64_t EpochUpdates::rows_of_full_update() const {
  return rows_of(0).size();
}

int64_t EpochUpdates::rows_of_last_update() const {
  return rows_of(updates_per_epoch_ - 1).size();
}

int64_t EpochUpdates::updates_in(double epochs) const {
  return static_cast<int64_t>(std::ceil(epochs * static_cast<double>(updates_per_epoch_)));
}

RowRange EpochUpdates::rows_of(int64_t update) const {
  const int64_t epoch = update / updates_per_epoch_, place = update % updates_per_epoch_;
  // An epoch may have fewer rows than an update asks for. The number of batches is limited before it is
  // multiplied, so that nothing overflows.
  const int64_t first_batch = place * shape_.batches_per_update;
  const int64_t batches = std::min(shape_.batches_per_update, batches_per_epoch_ - first_batch);
  const int64_t begin = first_batch * shape_.rows_per_batch;
  const int64_t end =
      batches == batches_per_epoch_ - first_batch ? rows_per_epoch_ : begin + batches * shape_.rows_per_batch;
  return {epoch * shape_.num_rows + begin, epoch * shape_.num_rows + end};
}

double EpochUpdates::epochs_after(int64_t updates) const {
  const int64_t epoch = updates / updates_per_epoch_, place = updates % updates_per_epoch_;
  return static_cast<double>(epoch) +
         static_cast<double>(place * shape_.batches_per_update) / static_cast<double>(batches_per_epoch_);
}

}  // namespace longlora::train
