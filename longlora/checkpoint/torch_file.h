// Reads files of torch.save: the zip archive, and the older format of pickles and raw storages in a row.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::checkpoint {

/// One tensor of a file. Strides are in elements; every element lies inside the file.
struct StoredTensor {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
  uint64_t offset_bytes;  // of element [0, 0, …] from the start of the file
};

/// Whether `file` begins as a file of torch.save does (either format).
bool is_torch_file(std::string_view file);

/// Reads the names and places of all tensors in `file`, which holds the bytes of the whole file; `source`
/// names it in errors. A tensor inside containers is named by the keys and indices that lead to it, joined by
/// dots ("model.weight", "optimizer.state.0.exp_avg"); the only tensor of a file that holds nothing else is
/// named "tensor". What is not a tensor is skipped.
/// Throws InputError as read_zip_directory and read_pickle do, and for a storage that is missing, truncated
/// or of another size than the pickle says, for two tensors of one name, and for containers nested too deep.
std::vector<StoredTensor> read_torch_file(std::string_view file, const std::string& source);

}  // namespace longlora::checkpoint
