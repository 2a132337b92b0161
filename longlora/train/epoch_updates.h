// Which rows each update of a run takes.
#pragma once

#include <cstdint>

namespace longlora::train {

/// What decides how an epoch falls into updates.
struct EpochShape {
  int64_t num_rows = 0;        // of the data
  int64_t rows_per_batch = 1;  // computed at once
  int64_t batches_per_update = 1;
  bool drop_last_batch = false;  // leave a batch out that the epoch's last rows do not fill
};

/// Places in the row order, [begin, end).
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

/// The updates of a run as Hugging Face's Trainer (5.23) makes them. Every epoch goes through each row once:
/// its last batch takes the rows that are left and its last update the batches that are left, so that no
/// update holds rows of two epochs and no row comes twice. A pure function of the number of the update, which
/// is why a resumed run needs nothing else. Places in the order go on from epoch to epoch (data::RowOrder).
class EpochUpdates {
 public:
  /// Throws UsageError where drop_last_batch leaves nothing.
  explicit EpochUpdates(const EpochShape& shape);

  int64_t updates_per_epoch() const { return updates_per_epoch_; }
  /// Rows that every epoch leaves out.
  int64_t dropped_rows() const { return shape_.num_rows - rows_per_epoch_; }
  /// Rows of an update that is not the epoch's last, or of the epoch where that has one update.
  int64_t rows_of_full_update() const;
  /// Rows of an epoch's last update.
  int64_t rows_of_last_update() const;
  /// Updates of so many passes over the data, rounded up.
  int64_t updates_in(double epochs) const;
  /// The rows of an update, counted from 0.
  RowRange rows_of(int64_t update) const;
  /// Passes over the data after so many updates, by batches.
  double epochs_after(int64_t updates) const;

 private:
  EpochShape shape_;
  int64_t rows_per_epoch_ = 0;
  int64_t batches_per_epoch_ = 0;
  int64_t updates_per_epoch_ = 0;
};

}  // namespace longlora::train
