// GGUF files made for one test, also such as no program would write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/gguf/metadata.h"

namespace longlora::test {

/// Appends numbers as they lie in memory, texts with their length before them.
class GgufBytes {
 public:
  /// The beginning of a file; what follows has to be as many tensors and values.
  static GgufBytes file(uint64_t num_tensors, uint64_t num_values, uint32_t version = 3) {
    GgufBytes bytes;
    bytes.raw("GGUF").number(version).number(num_tensors).number(num_values);
    return bytes;
  }

  template <typename Number>
  GgufBytes& number(Number value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBytes& raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  GgufBytes& text(std::string_view text) { return number(uint64_t{text.size()}).raw(text); }

  GgufBytes& key(std::string_view name, gguf::ValueType type) {
    return text(name).number(static_cast<uint32_t>(type));
  }
  GgufBytes& value(std::string_view name, std::string_view content) {
    return key(name, gguf::ValueType::kString).text(content);
  }
  GgufBytes& value(std::string_view name, uint32_t content) {
    return key(name, gguf::ValueType::kUint32).number(content);
  }
  GgufBytes& value(std::string_view name, float content) {
    return key(name, gguf::ValueType::kFloat32).number(content);
  }
  GgufBytes& flag(std::string_view name, bool content) {
    return key(name, gguf::ValueType::kBool).number(uint8_t{content});
  }
  GgufBytes& list(std::string_view name, gguf::ValueType element, uint64_t count) {
    return key(name, gguf::ValueType::kArray).number(static_cast<uint32_t>(element)).number(count);
  }
  GgufBytes& value(std::string_view name, const std::vector<std::string>& contents) {
    list(name, gguf::ValueType::kString, contents.size());
    for (const std::string& content : contents) text(content);
    return *this;
  }
  GgufBytes& value(std::string_view name, const std::vector<int32_t>& contents) {
    list(name, gguf::ValueType::kInt32, contents.size());
    for (const int32_t content : contents) number(content);
    return *this;
  }
  /// An entry of the table; sizes fastest first, as the files have them.
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                    uint64_t offset) {
    text(name).number(static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) number(size);
    return number(type).number(offset);
  }
  /// Zeros up to where the data begins, and so many bytes of them.
  GgufBytes& data(size_t num_bytes, size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment + num_bytes);
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace longlora::test
