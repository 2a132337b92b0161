#include "longlora/gguf/metadata.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <limits>

#include "longlora/core/error.h"

namespace longlora::gguf {
namespace {

template <typename Number>
Number element_at(const Value& value, uint64_t index) {
  Number number;
  std::memcpy(&number, value.bytes.data() + index * sizeof number, sizeof number);
  return number;
}

std::string describe(const Value& value) {
  constexpr const char* kNames[] = {"a number", "a number", "a number",      "a number", "a number",
                                    "a number", "a number", "true or false", "a text",   "a list",
                                    "a number", "a number", "a number"};
  const auto name = [&](ValueType type) { return kNames[static_cast<uint32_t>(type)]; };
  if (value.type != ValueType::kArray) return name(value.type);
  return fmt::format("a list of {} values, each {}", value.count, name(value.element));
}

}  // namespace

double shortest_decimal(float number) {
  const std::string text = fmt::format("{}", number);
  double parsed = number;
  std::from_chars(text.data(), text.data() + text.size(), parsed);
  return parsed;
}

uint64_t value_bytes(ValueType type) {
  switch (type) {
    case ValueType::kUint8:
    case ValueType::kInt8:
    case ValueType::kBool:
      return 1;
    case ValueType::kUint16:
    case ValueType::kInt16:
      return 2;
    case ValueType::kUint32:
    case ValueType::kInt32:
    case ValueType::kFloat32:
      return 4;
    case ValueType::kUint64:
    case ValueType::kInt64:
    case ValueType::kFloat64:
      return 8;
    default:
      return 0;
  }
}

void Metadata::fail(const std::string& key, const std::string& expected, const std::string& got) const {
  throw InputError(fmt::format("[{}] expected {} to be {}, got {}", source_, key, expected, got));
}

const Value* Metadata::find(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const Value* Metadata::find_scalar(const std::string& key, const char* expected) const {
  const Value* value = find(key);
  if (value != nullptr && value->type == ValueType::kArray) fail(key, expected, describe(*value));
  return value;
}

const Value* Metadata::find_array(const std::string& key) const {
  const Value* value = find(key);
  if (value != nullptr && value->type != ValueType::kArray) fail(key, "a list", describe(*value));
  return value;
}

int64_t Metadata::integer_of(const std::string& key, const Value& value, uint64_t index) const {
  switch (value.element) {
    case ValueType::kUint8:
      return element_at<uint8_t>(value, index);
    case ValueType::kInt8:
      return element_at<int8_t>(value, index);
    case ValueType::kUint16:
      return element_at<uint16_t>(value, index);
    case ValueType::kInt16:
      return element_at<int16_t>(value, index);
    case ValueType::kUint32:
      return element_at<uint32_t>(value, index);
    case ValueType::kInt32:
      return element_at<int32_t>(value, index);
    case ValueType::kInt64:
      return element_at<int64_t>(value, index);
    case ValueType::kUint64: {
      const auto number = element_at<uint64_t>(value, index);
      if (number > uint64_t{std::numeric_limits<int64_t>::max()})
        fail(key, "below 2^63", std::to_string(number));
      return static_cast<int64_t>(number);
    }
    default:
      fail(key, "a whole number", describe(value));
  }
}

double Metadata::number_of(const std::string& key, const Value& value, uint64_t index) const {
  if (value.element == ValueType::kFloat32) return shortest_decimal(element_at<float>(value, index));
  if (value.element == ValueType::kFloat64) return element_at<double>(value, index);
  return static_cast<double>(integer_of(key, value, index));
}

std::optional<int64_t> Metadata::integer(const std::string& key) const {
  const Value* value = find_scalar(key, "a whole number");
  return value == nullptr ? std::nullopt : std::optional(integer_of(key, *value, 0));
}

std::optional<double> Metadata::number(const std::string& key) const {
  const Value* value = find_scalar(key, "a number");
  return value == nullptr ? std::nullopt : std::optional(number_of(key, *value, 0));
}

std::optional<bool> Metadata::flag(const std::string& key) const {
  const Value* value = find_scalar(key, "true or false");
  if (value == nullptr) return std::nullopt;
  if (value->type != ValueType::kBool) fail(key, "true or false", describe(*value));
  return element_at<uint8_t>(*value, 0) != 0;
}

std::optional<std::string> Metadata::text(const std::string& key) const {
  const Value* value = find_scalar(key, "a text");
  if (value == nullptr) return std::nullopt;
  if (value->type != ValueType::kString) fail(key, "a text", describe(*value));
  return std::string(value->bytes.substr(sizeof(uint64_t)));
}

std::vector<std::string_view> Metadata::texts(const std::string& key) const {
  std::vector<std::string_view> texts;
  const Value* value = find_array(key);
  if (value == nullptr || value->count == 0) return texts;
  if (value->element != ValueType::kString) fail(key, "a list of texts", describe(*value));
  texts.reserve(value->count);
  std::string_view rest = value->bytes;
  for (uint64_t i = 0; i < value->count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, rest.data(), sizeof length);
    texts.push_back(rest.substr(sizeof length, length));
    rest.remove_prefix(sizeof length + length);
  }
  return texts;
}

std::vector<int64_t> Metadata::integers(const std::string& key) const {
  std::vector<int64_t> integers;
  const Value* value = find_array(key);
  for (uint64_t i = 0; value != nullptr && i < value->count; ++i)
    integers.push_back(integer_of(key, *value, i));
  return integers;
}

std::vector<double> Metadata::numbers(const std::string& key) const {
  std::vector<double> numbers;
  const Value* value = find_array(key);
  for (uint64_t i = 0; value != nullptr && i < value->count; ++i)
    numbers.push_back(number_of(key, *value, i));
  return numbers;
}

}  // namespace longlora::gguf
