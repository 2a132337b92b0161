// How GGUF files store numbers: plain, or in blocks that share scales (ggml's types).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace longlora::gguf {

// NOLINTBEGIN(readability-identifier-naming): the names are ggml's.
/// The types that are read; the values are those of the files.
enum class BlockType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
};
// NOLINTEND(readability-identifier-naming)

/// "Q4_1" for 3, for types that are not read too; "type 77" for a number that means nothing.
std::string type_name(uint32_t type);

/// The type of a number in a file; nothing for one that is not read.
std::optional<BlockType> block_type(uint32_t type);

/// "F32, F16, Q4_0 …": the names of the types that are read.
std::string readable_types();

/// Elements of one block: 1 for the plain types.
int64_t block_elements(BlockType type);
/// Bytes of one block.
uint64_t block_bytes(BlockType type);
/// Whether blocks share scales; otherwise elements are F32, F16 or BF16.
bool is_quantised(BlockType type);

/// The numbers of `num_blocks` blocks at `blocks`, of any alignment, in `values`, which has room for
/// num_blocks · block_elements(type). Products are rounded before they are added, as in the Python package
/// gguf (gguf/quants.py), whose values these are bit by bit.
void dequantise(BlockType type, const std::byte* blocks, int64_t num_blocks, float* values);

}  // namespace longlora::gguf
