// Work on a tensor in tiles: on some of its rows at a time, each of which belongs to a token.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace longlora::forward {

/// Calls body(begin, end) for each tile of `tokens` tokens. `tile_tokens` is the size of a tile; 0: one tile
/// has all of them.
template <typename Body>
void for_each_tile(int64_t tokens, int64_t tile_tokens, const Body& body) {
  const int64_t step = tile_tokens > 0 ? tile_tokens : tokens;
  for (int64_t begin = 0; begin < tokens; begin += step) body(begin, std::min(tokens, begin + step));
}

/// Returns the rows [begin, end) of x, or x itself where these are all of its rows.
inline at::Tensor rows_of(const at::Tensor& x, int64_t begin, int64_t end) {
  return begin == 0 && end == x.size(0) ? x : x.slice(0, begin, end);
}

/// A tensor that is put together from tiles. A tile that has all rows becomes the tensor itself, so that
/// nothing is copied.
class TiledRows {
 public:
  explicit TiledRows(int64_t rows) : rows_(rows) {}

  /// Puts a tile at the rows [begin, end).
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
