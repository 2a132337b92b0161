// A set of rows of a matrix, in the order in which they were added.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace longlora::train {

/// A set of rows of a matrix. Each has a place: how many others were added before it.
class RowSet {
 public:
  explicit RowSet(int64_t num_rows) : places_(static_cast<size_t>(num_rows), kAbsent) {}

  /// Adds the rows of `ids` that are not in the set: [N] int64 on the CPU, each in [0, num_rows).
  void add(const at::Tensor& ids);
  void clear();
  /// Returns the rows in the order in which they were added.
  const std::vector<int64_t>& rows() const { return rows_; }
  bool contains(int64_t row) const { return place(row) != kAbsent; }
  /// Returns the place of a row in rows().
  int64_t place(int64_t row) const { return places_[static_cast<size_t>(row)]; }
  /// Returns the places of rows [N] int64, which have to be in the set: [N] int64.
  at::Tensor places(const at::Tensor& ids) const;

 private:
  static constexpr int64_t kAbsent = -1;

  std::vector<int64_t> places_;
  std::vector<int64_t> rows_;
};

}  // namespace longlora::train
