// Writes the zip archive of torch.save, entry by entry.
#pragma once

#include <filesystem>
#include <vector>

#include "longlora/checkpoint/tensor_writer.h"

namespace longlora::checkpoint::internal {

/// Writes a dict from name to tensor atomically. Data begins at multiples of 64 bytes, as torch's own does.
void write_torch_file(const std::filesystem::path& path, const std::vector<TensorSpec>& specs,
                      const TensorSource& source);

/// The CRC-32 of `bytes` that zip uses (reflected 0xEDB88320).
uint32_t crc32(std::string_view bytes);

/// Throws InputError that names the tensor where elements [begin, end) of it, which is contiguous on the CPU,
/// hold an infinity or NaN. A reader that loads such a weight computes nothing but NaN, so no file gets one.
/// The constant that GPT-NeoX's files keep for masked scores, which float16 turns to -inf, may hold it.
void check_finite(const TensorSpec& spec, const at::Tensor& tensor, int64_t begin, int64_t end);

/// The tensor that `source` makes, contiguous on the CPU. Throws Error when it is not what the spec says.
at::Tensor make_tensor(const TensorSpec& spec, const TensorSource& source);

}  // namespace longlora::checkpoint::internal
