// The zip archive of torch.save, written entry by entry.
#pragma once

#include <filesystem>
#include <vector>

#include "longlora/checkpoint/tensor_writer.h"

namespace longlora::checkpoint::internal {

/// Writes a dict from name to tensor, atomically; data at multiples of 64 bytes, as torch does.
void write_torch_file(const std::filesystem::path& path, const std::vector<TensorSpec>& specs,
                      const TensorSource& source);

/// CRC-32 of zip (reflected 0xEDB88320) of `bytes`.
uint32_t crc32(std::string_view bytes);

/// The tensor that `source` makes, contiguous on the CPU. Throws Error when it is not what the spec says.
at::Tensor make_tensor(const TensorSpec& spec, const TensorSource& source);

}  // namespace longlora::checkpoint::internal
