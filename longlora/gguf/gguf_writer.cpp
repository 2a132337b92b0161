#include "longlora/gguf/gguf_writer.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "longlora/core/error.h"
#include "longlora/core/file.h"

namespace longlora::gguf {
namespace {

constexpr uint64_t kAlignment = 32;  // the one that a reader takes where the file states none
constexpr uint32_t kVersion = 3;

template <typename Number>
void append(std::string& bytes, Number value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_text(std::string& bytes, std::string_view text) {
  append(bytes, uint64_t{text.size()});
  bytes += text;
}

uint64_t aligned(uint64_t position) {
  return (position + kAlignment - 1) / kAlignment * kAlignment;
}

std::string file_start(const MetadataWriter& metadata, const std::vector<TensorLayout>& tensors) {
  std::string start = "GGUF";
  append(start, kVersion);
  append(start, uint64_t{tensors.size()});
  append(start, metadata.count());
  start += metadata.bytes();
  uint64_t offset = 0;
  for (const TensorLayout& tensor : tensors) {
    append_text(start, tensor.name);
    append(start, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) append(start, static_cast<uint64_t>(tensor.shape[i]));
    append(start, static_cast<uint32_t>(tensor.type));
    append(start, offset);
    offset = aligned(offset + tensor.num_bytes());
  }
  start.resize(aligned(start.size()));
  return start;
}

}  // namespace

void MetadataWriter::begin(const std::string& key, ValueType type) {
  append_text(bytes_, key);
  append(bytes_, static_cast<uint32_t>(type));
  ++count_;
}

void MetadataWriter::begin_list(const std::string& key, ValueType element, uint64_t count) {
  begin(key, ValueType::kArray);
  append(bytes_, static_cast<uint32_t>(element));
  append(bytes_, count);
}

void MetadataWriter::add_size(const std::string& key, int64_t value) {
  if (value < 0 || value > int64_t{std::numeric_limits<uint32_t>::max()})
    throw InputError(fmt::format("[GGUF] expected {} to be a whole number of 32 bits, got {}", key, value));
  begin(key, ValueType::kUint32);
  append(bytes_, static_cast<uint32_t>(value));
}

void MetadataWriter::add_number(const std::string& key, double value) {
  begin(key, ValueType::kFloat32);
  append(bytes_, static_cast<float>(value));
}

void MetadataWriter::add_flag(const std::string& key, bool value) {
  begin(key, ValueType::kBool);
  append(bytes_, static_cast<uint8_t>(value));
}

void MetadataWriter::add_text(const std::string& key, std::string_view value) {
  begin(key, ValueType::kString);
  append_text(bytes_, value);
}

void MetadataWriter::add_texts(const std::string& key, const std::vector<std::string>& values) {
  begin_list(key, ValueType::kString, values.size());
  for (const std::string& value : values) append_text(bytes_, value);
}

void MetadataWriter::add_numbers(const std::string& key, const std::vector<float>& values) {
  begin_list(key, ValueType::kFloat32, values.size());
  for (const float value : values) append(bytes_, value);
}

void MetadataWriter::add_integers(const std::string& key, const std::vector<int32_t>& values) {
  begin_list(key, ValueType::kInt32, values.size());
  for (const int32_t value : values) append(bytes_, value);
}

uint64_t TensorLayout::num_bytes() const {
  uint64_t elements = 1;
  for (const int64_t size : shape) elements *= static_cast<uint64_t>(size);
  return elements / static_cast<uint64_t>(block_elements(type)) * block_bytes(type);
}

void write_gguf_file(const std::filesystem::path& path, const MetadataWriter& metadata,
                     const std::vector<TensorLayout>& tensors, const TensorBytes& data) {
  constexpr std::array<char, kAlignment> kPadding = {};
  AtomicFileWriter file(path);
  const std::string start = file_start(metadata, tensors);
  file.write(start.data(), start.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    uint64_t written = 0;
    data(i, [&](const void* bytes, size_t num_bytes) {
      file.write(bytes, num_bytes);
      written += num_bytes;
    });
    if (written != tensors[i].num_bytes())
      throw Error(fmt::format("[{}] expected {} bytes of tensor \"{}\", got {}", path.string(),
                              tensors[i].num_bytes(), tensors[i].name, written));
    file.write(kPadding.data(), aligned(written) - written);
  }
  file.commit();
}

}  // namespace longlora::gguf
