// Tensors whose memory lies on a disk.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>

namespace longlora::tensors {

/// Zeros in a scratch file of their own in `folder`. The tensor is a CPU tensor like any other, but only what
/// is read or written of it counts as memory of the process, until that is released (core/scratch_file.h).
/// Throws ResourceError when the disk has no room.
at::Tensor zeros_on_disk(at::IntArrayRef shape, at::ScalarType dtype, const std::filesystem::path& folder);

/// Whether a tensor was made by zeros_on_disk(), or is a view of one that was.
bool is_on_disk(const at::Tensor& x);

/// Hints that the elements [begin, end) of a contiguous tensor are not needed for now, or will be needed
/// soon. They do nothing for tensors in memory.
void release_elements(const at::Tensor& x, int64_t begin, int64_t end);
void will_need_elements(const at::Tensor& x, int64_t begin, int64_t end);
inline void release(const at::Tensor& x) {
  release_elements(x, 0, x.numel());
}

/// Taking so many elements of a tensor on disk at a time keeps what is resident small.
constexpr int64_t kDiskPieceElements = int64_t{1} << 21;

/// Calls body(begin, end) for one piece of so many elements after another.
template <typename Body>
void for_each_disk_piece(int64_t elements, const Body& body) {
  for (int64_t begin = 0; begin < elements; begin += kDiskPieceElements)
    body(begin, std::min(elements, begin + kDiskPieceElements));
}

/// Does to.copy_(from) for contiguous tensors of one shape, a piece at a time, and releases each piece when
/// it is copied.
void copy_by_pieces(const at::Tensor& to, const at::Tensor& from);

/// Does weight.index_select(0, rows) for weight [V, C] and rows [N] int64, by pieces where the weight is on
/// disk.
at::Tensor select_rows(const at::Tensor& weight, const at::Tensor& rows);

}  // namespace longlora::tensors
