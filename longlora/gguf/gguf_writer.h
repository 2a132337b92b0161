// Writes GGUF files: version 3, little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/gguf/block_types.h"
#include "longlora/gguf/metadata.h"

namespace longlora::gguf {

/// Values by key, in the order in which they are added; each key once. The types are those that llama.cpp
/// asks for.
class MetadataWriter {
 public:
  /// As uint32. Throws InputError for a number that this does not hold.
  void add_size(const std::string& key, int64_t value);
  /// As float32.
  void add_number(const std::string& key, double value);
  void add_flag(const std::string& key, bool value);
  void add_text(const std::string& key, std::string_view value);
  void add_texts(const std::string& key, const std::vector<std::string>& values);
  void add_numbers(const std::string& key, const std::vector<float>& values);
  void add_integers(const std::string& key, const std::vector<int32_t>& values);

  uint64_t count() const { return count_; }
  /// The values as they stand in a file.
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(const std::string& key, ValueType type);
  void begin_list(const std::string& key, ValueType element, uint64_t count);

  std::string bytes_;
  uint64_t count_ = 0;
};

/// A tensor of a file that is written.
struct TensorLayout {
  std::string name;
  BlockType type;
  std::vector<int64_t> shape;  // slowest dimension first, as in PyTorch; the last is whole blocks

  uint64_t num_bytes() const;
};

/// Takes the next bytes of a tensor.
using ByteSink = std::function<void(const void* bytes, size_t num_bytes)>;
/// Gives the data of tensor `index` in pieces of any size, TensorLayout::num_bytes() in all. It is called
/// once for each tensor, in their order.
using TensorBytes = std::function<void(size_t index, const ByteSink& write)>;

/// Writes a file atomically, its tensors at multiples of 32 bytes. Throws ResourceError where the disk is
/// full or not writable, and what `data` throws; nothing is left of the file then.
void write_gguf_file(const std::filesystem::path& path, const MetadataWriter& metadata,
                     const std::vector<TensorLayout>& tensors, const TensorBytes& data);

}  // namespace longlora::gguf
