// Work on some rows of a tensor at a time.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace longlora::forward {

/// Calls body(begin, end) for the tiles of `rows`; tile_rows 0: one tile.
template <typename Body>
void for_each_tile(int64_t rows, int64_t tile_rows, const Body& body) {
  const int64_t step = tile_rows > 0 ? tile_rows : rows;
  for (int64_t begin = 0; begin < rows; begin += step) body(begin, std::min(rows, begin + step));
}

/// The rows [begin, end) of x: x itself where those are all.
inline at::Tensor rows_of(const at::Tensor& x, int64_t begin, int64_t end) {
  return begin == 0 && end == x.size(0) ? x : x.slice(0, begin, end);
}

/// A tensor put together from tiles of its rows. Where one tile has all rows, that tile becomes the tensor
/// and nothing is copied.
class TiledRows {
 public:
  explicit TiledRows(int64_t rows) : rows_(rows) {}

  /// `tile` has the rows [begin, end).
  void put(int64_t begin, int64_t end, const at::Tensor& tile) {
    if (end - begin == rows_) {
      whole_ = tile.detach();
      return;
    }
    if (!whole_.defined()) {
      std::vector<int64_t> sizes = tile.sizes().vec();
      sizes[0] = rows_;
      whole_ = at::empty(sizes, tile.options());
    }
    whole_.slice(0, begin, end).copy_(tile.detach());
  }
  at::Tensor take() { return std::move(whole_); }

 private:
  int64_t rows_;
  at::Tensor whole_;
};

}  // namespace longlora::forward
