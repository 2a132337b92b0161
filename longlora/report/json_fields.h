// Reading typed fields of a JSON object with errors that say where they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::report {

/// One object of an input file. All throw InputError "[file, place] expected …, got …".
class JsonFields {
 public:
  /// `where` reads "results.json, results[2]". Keeps a reference to `object`.
  JsonFields(const Json& object, std::string where);

  bool has(const char* key) const;
  /// A number, or NaN for null. Missing: error, or NaN in the second form.
  double number(const char* key) const;
  double number_or_nan(const char* key) const;
  /// A whole number, at least `minimum`. Missing or null: error, or -1 in the second form.
  int64_t count(const char* key, int64_t minimum) const;
  int64_t count_or_unknown(const char* key) const;
  /// A number from 0 to 1.
  double fraction(const char* key) const;
  bool boolean(const char* key) const;
  /// Empty when missing or null.
  std::string text_or_empty(const char* key) const;
  /// A non-empty array of objects, each with its own place.
  std::vector<JsonFields> objects(const char* key) const;

  const std::string& where() const { return where_; }
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const;

 private:
  const Json& required(const char* key, const char* expected) const;

  const Json* object_;
  std::string where_;
};

}  // namespace longlora::report
