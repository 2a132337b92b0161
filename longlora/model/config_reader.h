// Typed access to one JSON object of a configuration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::model {

/// No model has a size above this; only a damaged or hostile file states one.
constexpr int64_t kLargestSize = int64_t{1} << 31;

/// Reads members of one JSON object, which must outlive it. A member that is
/// null counts as absent. Every error is an InputError that names `source`, key
/// and value.
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string source) : json_(json), source_(std::move(source)) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  /// Whether the key is there, even if its value is null.
  bool mentions(const char* key) const { return json_.contains(key); }

  /// Returns a positive integer below kLargestSize. The key must be there.
  int64_t size(const char* key) const;
  int64_t size(const char* key, int64_t fallback) const;
  double number(const char* key, double fallback) const;
  bool flag(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  /// Returns a list of positive, finite numbers, which is empty where the key is absent.
  std::vector<double> positive_numbers(const char* key) const;
  /// Returns a list of strings, which is empty where the key is absent.
  std::vector<std::string> texts(const char* key) const;

  const std::string& source() const { return source_; }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const Json& json_;
  std::string source_;
};

}  // namespace longlora::model
