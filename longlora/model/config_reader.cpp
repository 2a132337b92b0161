#include "longlora/model/config_reader.h"

#include <fmt/format.h>

#include <cmath>

#include "longlora/core/error.h"

namespace longlora::model {

void ConfigReader::fail(const std::string& what) const {
  throw InputError(fmt::format("[{}] {}", source_, what));
}

int64_t ConfigReader::size(const char* key) const {
  if (!has(key)) fail(fmt::format("expected \"{}\", found no such key", key));
  return size(key, 0);
}

int64_t ConfigReader::size(const char* key, int64_t fallback) const {
  if (!has(key)) return fallback;
  if (!json_[key].is_number_integer())
    fail(fmt::format("expected an integer \"{}\", got {}", key, json_[key].dump()));
  const bool too_large =
      json_[key].is_number_unsigned() && json_[key].get<uint64_t>() > uint64_t(kLargestSize);
  const int64_t value = too_large ? kLargestSize : json_[key].get<int64_t>();
  if (value <= 0 || value >= kLargestSize)
    fail(fmt::format("expected \"{}\" between 1 and {}, got {}", key, kLargestSize - 1, json_[key].dump()));
  return value;
}

double ConfigReader::number(const char* key, double fallback) const {
  if (!has(key)) return fallback;
  if (!json_[key].is_number()) fail(fmt::format("expected a number \"{}\", got {}", key, json_[key].dump()));
  return json_[key].get<double>();
}

bool ConfigReader::flag(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json_[key].is_boolean())
    fail(fmt::format("expected true or false for \"{}\", got {}", key, json_[key].dump()));
  return json_[key].get<bool>();
}

std::string ConfigReader::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!json_[key].is_string()) fail(fmt::format("expected a string \"{}\", got {}", key, json_[key].dump()));
  return json_[key].get<std::string>();
}

std::vector<double> ConfigReader::positive_numbers(const char* key) const {
  std::vector<double> values;
  if (!has(key)) return values;
  if (!json_[key].is_array()) fail(fmt::format("expected a list \"{}\", got {}", key, json_[key].dump()));
  for (const Json& item : json_[key]) {
    if (!item.is_number() || !(item.get<double>() > 0.0) || !std::isfinite(item.get<double>()))
      fail(fmt::format("expected positive numbers in \"{}\", got {}", key, item.dump()));
    values.push_back(item.get<double>());
  }
  return values;
}

std::vector<std::string> ConfigReader::texts(const char* key) const {
  std::vector<std::string> values;
  if (!has(key)) return values;
  if (!json_[key].is_array()) fail(fmt::format("expected a list \"{}\", got {}", key, json_[key].dump()));
  for (const Json& item : json_[key]) {
    if (!item.is_string()) fail(fmt::format("expected strings in \"{}\", got {}", key, item.dump()));
    values.push_back(item.get<std::string>());
  }
  return values;
}

}  // namespace longlora::model
