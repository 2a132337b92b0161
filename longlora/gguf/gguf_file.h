// One file in GGUF, the format of llama.cpp: values by key, a table of tensors, and their data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/gguf/block_types.h"
#include "longlora/gguf/metadata.h"

namespace longlora::gguf {

/// One tensor of a file, all of whose bytes lie inside it.
struct TensorEntry {
  std::string name;
  BlockType type;
  std::vector<int64_t> shape;  // slowest dimension first, as in PyTorch; the last is whole blocks
  uint64_t offset_bytes;       // from the start of the file
  uint64_t num_bytes;
};

struct GgufFile {
  Metadata metadata;
  std::vector<TensorEntry> tensors;  // as they stand in the table
};

/// Whether `file` begins as GGUF does, of whatever version and byte order.
bool is_gguf(std::string_view file);

/// Reads the values and the table of tensors of `file`, the bytes of the whole file, which must be there as
/// long as the metadata is read; `source` names it in errors. Versions 2 and 3, little-endian. Throws
/// InputError: another version or byte order; counts, lengths, sizes or offsets that lead out of the file;
/// values of unknown types, arrays nested beyond measure, a key or tensor twice; tensors of types that are
/// not read, that are not whole blocks, are not aligned or overlap.
GgufFile parse_gguf(std::string_view file, const std::string& source);

}  // namespace longlora::gguf
