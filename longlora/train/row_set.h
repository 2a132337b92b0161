// Rows of a matrix, in the order in which they came.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace longlora::train {

/// Rows of a matrix.
class RowSet {
 public:
  explicit RowSet(int64_t num_rows) : places_(static_cast<size_t>(num_rows), kAbsent) {}

  /// ids [N] int64 on the CPU, each in [0, num_rows).
  void add(const at::Tensor& ids);
  void clear();
  /// In the order in which they came first.
  const std::vector<int64_t>& rows() const { return rows_; }
  bool contains(int64_t row) const { return place(row) != kAbsent; }
  /// Of a row among rows().
  int64_t place(int64_t row) const { return places_[static_cast<size_t>(row)]; }
  /// Of rows [N] int64 that are in the set; [N] int64.
  at::Tensor places(const at::Tensor& ids) const;

 private:
  static constexpr int64_t kAbsent = -1;

  std::vector<int64_t> places_;
  std::vector<int64_t> rows_;
};

}  // namespace longlora::train
