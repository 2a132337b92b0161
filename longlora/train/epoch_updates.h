// Decides which rows each update of a run takes.
#pragma once

#include <cstdint>

namespace longlora::train {

/// The numbers that decide how an epoch is divided into updates.
struct EpochShape {
  int64_t num_rows = 0;        // how many rows the data have
  int64_t rows_per_batch = 1;  // how many are computed at once
  int64_t batches_per_update = 1;
  bool drop_last_batch = false;  // whether a batch is left out that the epoch's last rows do not fill
};

/// The places [begin, end) in the order of rows.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

/// The updates of a run as Hugging Face's Trainer (5.23) makes them. Every epoch goes through each row once.
/// Its last batch takes the rows that are left and its last update the batches that are left, so that no
/// update has rows of two epochs. The rows of an update follow from its number alone, so that a resumed run
/// needs nothing else. Places in the order are counted on from epoch to epoch (data::RowOrder).
class EpochUpdates {
 public:
  /// Throws UsageError where drop_last_batch leaves out every row.
  explicit EpochUpdates(const EpochShape& shape);

  int64_t updates_per_epoch() const { return updates_per_epoch_; }
  /// Returns how many rows every epoch leaves out.
  int64_t dropped_rows() const { return shape_.num_rows - rows_per_epoch_; }
  /// Returns how many rows an update has that is not the last of its epoch, or the only update of an epoch.
  int64_t rows_of_full_update() const;
  /// Returns how many rows the last update of an epoch has.
  int64_t rows_of_last_update() const;
  /// Returns how many updates so many passes over the data take, rounded up.
  int64_t updates_in(double epochs) const;
  /// Returns the rows of an update; the first update is 0.
  RowRange rows_of(int64_t update) const;
  /// Returns how many passes over the data so many updates are, counted in batches.
  double epochs_after(int64_t updates) const;

 private:
  EpochShape shape_;
  int64_t rows_per_epoch_ = 0;
  int64_t batches_per_epoch_ = 0;
  int64_t updates_per_epoch_ = 0;
};

}  // namespace longlora::train
