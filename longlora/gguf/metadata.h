// What a GGUF file says about its model: typed values by key.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::gguf {

/// Types of values; the numbers are those of the files.
enum class ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

/// Bytes of a value of a fixed size; 0 for texts, arrays and numbers that name no type.
uint64_t value_bytes(ValueType type);

/// The shortest decimal number that rounds to `number`: 1e-05 for the float32 nearest to it.
double shortest_decimal(float number);

/// A value where it lies in the file: `count` elements of `element` for an array, else one of `type`.
struct Value {
  ValueType type;
  ValueType element;
  uint64_t count;
  std::string_view bytes;  // of the elements; each text with its length of eight bytes before it
};

/// Values by key. They lie in the file, which must be there as long as they are read. A value that is absent
/// is nothing, or an empty list; one of another type throws InputError that names file and key.
class Metadata {
 public:
  explicit Metadata(std::string source = {}) : source_(std::move(source)) {}

  /// Whether the key is new; its value has been checked to lie in the file.
  bool add(std::string key, Value value) { return values_.emplace(std::move(key), value).second; }

  bool has(const std::string& key) const { return values_.count(key) != 0; }
  /// A whole number of any width.
  std::optional<int64_t> integer(const std::string& key) const;
  /// A number; of float32 the shortest decimal number that rounds to it, as a configuration would say it.
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> flag(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  std::vector<std::string_view> texts(const std::string& key) const;
  std::vector<int64_t> integers(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;

  /// The file, for errors.
  const std::string& source() const { return source_; }
  /// Throws InputError: "[file] expected `key` to be `expected`, got `got`".
  [[noreturn]] void fail(const std::string& key, const std::string& expected, const std::string& got) const;

 private:
  const Value* find(const std::string& key) const;
  const Value* find_scalar(const std::string& key, const char* expected) const;
  const Value* find_array(const std::string& key) const;
  int64_t integer_of(const std::string& key, const Value& value, uint64_t index) const;
  double number_of(const std::string& key, const Value& value, uint64_t index) const;

  std::string source_;
  std::map<std::string, Value> values_;
};

}  // namespace longlora::gguf
