// Tensors that are put together from pieces: which parts of which files fill which places.
#include <c10/util/accumulate.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

std::string shown(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

}  // namespace

std::vector<TensorStore::Piece> TensorStore::pieces_of(const JoinedTensor& joined,
                                                       const std::vector<TensorStore>& stores) const {
  std::vector<Piece> pieces;
  pieces.reserve(stores.size());
  const auto dim = static_cast<size_t>(joined.dim);
  int64_t start = 0;
  size_t first_file = 0;
  for (size_t i = 0; i < stores.size(); ++i) {
    Piece piece{joined.piece_name, stores[i].info(joined.piece_name), joined.dim, start, 0, false, false};
    std::vector<int64_t>& shape = piece.stored.shape;
    std::vector<int64_t>& strides = piece.stored.strides;
    piece.stored.file_index += first_file;
    first_file += stores[i].files_.size();
    piece.size = shape.at(dim);
    piece.is_copy = static_cast<int64_t>(i) % joined.copies != 0;
    if (!piece.is_copy) start += piece.size;
    std::vector<int64_t> other = joined.shape;
    other.at(dim) = piece.size;
    if (shape != other || start > joined.shape[dim] || (joined.swap && piece.size % joined.swap->run() != 0))
      throw InputError(fmt::format(
          "[{}] tensor \"{}\": expected a part of {}{}, got {}",
          stores[i].file_of(joined.piece_name).string(), joined.piece_name, shown(joined.shape),
          joined.swap ? fmt::format(" of whole heads of {} rows", joined.swap->run()) : "", shown(shape)));
    if (joined.swap) {
      piece.is_swapped = true;
      const auto& [outer, inner, rows] = *joined.swap;
      if (!strides.empty()) {
        const int64_t row = strides[0];
        strides.erase(strides.begin());
        strides.insert(strides.begin(), {row * joined.swap->run(), row * inner * rows, row * rows, row});
      }
      shape.erase(shape.begin());
      shape.insert(shape.begin(), {piece.size / joined.swap->run(), outer, inner, rows});
    }
    pieces.push_back(std::move(piece));
  }
  if (start != joined.shape[dim])
    throw InputError(
        fmt::format("[{}] tensor \"{}\": expected {} of all {} files together, got {} of {} along "
                    "dimension {}",
                    stores.front().file_of(joined.piece_name).string(), joined.piece_name,
                    shown(joined.shape), stores.size(), start, joined.shape[dim], dim));
  return pieces;
}

TensorStore TensorStore::join(const std::vector<TensorStore>& stores,
                              const std::vector<JoinedTensor>& tensors) {
  TensorStore whole;
  for (const TensorStore& store : stores)
    whole.files_.insert(whole.files_.end(), store.files_.begin(), store.files_.end());
  for (const JoinedTensor& joined : tensors) {
    TensorInfo info = stores.front().info(joined.piece_name);
    info.shape = joined.shape;
    info.num_bytes =
        static_cast<uint64_t>(c10::multiply_integers(joined.shape)) * tensors::element_bytes(info.dtype);
    info.strides.clear();
    info.blocks.reset();
    std::vector<Piece> pieces = whole.pieces_of(joined, stores);
    const bool is_plain = pieces.size() == 1 && !pieces.front().is_swapped;
    whole.tensors_.emplace(joined.name, is_plain ? pieces.front().stored : std::move(info));
    if (!is_plain) whole.pieces_.emplace(joined.name, std::move(pieces));
  }
  return whole;
}

}  // namespace longlora::checkpoint
