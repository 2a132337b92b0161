#include "longlora/train/row_set.h"

namespace longlora::train {

void RowSet::add(const at::Tensor& ids) {
  const int64_t* id = ids.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < ids.numel(); ++n) {
    if (contains(id[n])) continue;
    places_[static_cast<size_t>(id[n])] = static_cast<int64_t>(rows_.size());
    rows_.push_back(id[n]);
  }
}

void RowSet::clear() {
  for (const int64_t row : rows_) places_[static_cast<size_t>(row)] = kAbsent;
  rows_.clear();
}

at::Tensor RowSet::places(const at::Tensor& ids) const {
  at::Tensor found = at::empty_like(ids);
  const int64_t* id = ids.const_data_ptr<int64_t>();
  auto* to = found.mutable_data_ptr<int64_t>();
  for (int64_t n = 0; n < ids.numel(); ++n) to[n] = place(id[n]);
  return found;
}

}  // namespace longlora::train
