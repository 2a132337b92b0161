// How results become JSON and come back. A result lists its fields once, in a function that both directions
// run through:
//
//   template <typename Step, typename Fields>
//   static void list_fields(Step& step, Fields& fields) {
//     fields.required("step", step.step);
//     fields.optional("learning_rate", step.learning_rate);
//   }
//
// FieldWriter writes the fields into a JSON object in that order; FieldReader fills them in from one.
// "required" and the like are rules for reading: files may come from an earlier version, or from a person.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::results {

/// Writes fields into a JSON object. JSON has neither NaN nor infinity: these are written as null. So is a
/// count below 0, which means that it is not known. An optional without a value is left out.
class FieldWriter {
 public:
  /// Keeps a reference to `object`.
  explicit FieldWriter(Json& object) : object_(&object) {}

  template <typename Value>
  void required(const char* key, const Value& value, int64_t /*least*/ = 0) {
    write(key, value);
  }
  template <typename Value>
  void optional(const char* key, const Value& value, double /*otherwise*/ = 0.0) {
    write(key, value);
  }
  void share(const char* key, double value) { write(key, value); }
  void token_ids(const char* key, const std::vector<int64_t>& ids) { write(key, ids); }

  template <typename Result>
  void objects(const char* key, const std::vector<Result>& results) {
    Json list = Json::array();
    for (const Result& result : results) {
      Json object = Json::object();
      FieldWriter fields(object);
      Result::list_fields(result, fields);
      list.push_back(std::move(object));
    }
    (*object_)[key] = std::move(list);
  }
  template <typename Result>
  void optional_objects(const char* key, const std::vector<Result>& results) {
    objects(key, results);
  }
  template <typename Result>
  void objects_or_one(const char* key, const std::vector<Result>& results) {
    if (results.size() == 1) Result::list_fields(results.front(), *this);
    objects(key, results);
  }

  template <typename Got>
  void check(bool /*holds*/, const char* /*expected*/, const Got& /*got*/) {}

 private:
  template <typename Value>
  void write(const char* key, const Value& value) {
    (*object_)[key] = value;
  }
  void write(const char* key, double value);
  void write(const char* key, int64_t count);
  template <typename Value>
  void write(const char* key, const std::optional<Value>& value) {
    if (value) write(key, *value);
  }

  Json* object_;
};

/// Reads fields of a JSON object. All functions throw InputError "[file, place] expected …, got …". Where a
/// key may be missing and is, its field stays as it is.
class FieldReader {
 public:
  /// `where` names the object in errors: "results.json, results[2]". Keeps a reference to `object`.
  FieldReader(const Json& object, std::string where);

  /// Reads a number; null reads as NaN.
  void required(const char* key, double& value) const;
  /// Reads a whole number that is at least `least`.
  void required(const char* key, int64_t& count, int64_t least = 0) const;
  void required(const char* key, bool& value) const;
  /// Reads a number from 0 to 1.
  void share(const char* key, double& value) const;
  /// Reads a list of at least two whole numbers.
  void token_ids(const char* key, std::vector<int64_t>& ids) const;

  /// Reads a number whose key may be missing. null reads as NaN. Where the key is missing and `otherwise` is
  /// given, the field becomes that.
  void optional(const char* key, double& value) const;
  void optional(const char* key, double& value, double otherwise) const;
  /// Reads a count whose key may be missing, or whose value may be null.
  void optional(const char* key, int64_t& count) const;
  void optional(const char* key, std::string& text) const;
  void optional(const char* key, std::vector<double>& numbers) const;
  void optional(const char* key, std::vector<std::string>& texts) const;
  void optional(const char* key, Json& value) const;
  template <typename Value>
  void optional(const char* key, std::optional<Value>& value) const {
    if (is_given(key)) optional(key, value.emplace());
  }

  /// Reads a list with at least one object, each of which is a Result.
  template <typename Result>
  void objects(const char* key, std::vector<Result>& results) const {
    require_objects(key);
    optional_objects(key, results);
  }
  /// Reads a list of any length, whose key may be missing.
  template <typename Result>
  void optional_objects(const char* key, std::vector<Result>& results) const {
    for (const FieldReader& fields : objects_of(key)) Result::list_fields(results.emplace_back(), fields);
  }
  /// Reads such a list, or one Result whose fields stand in this object itself. A list of one is written both
  /// ways.
  template <typename Result>
  void objects_or_one(const char* key, std::vector<Result>& results) const {
    if (has(key)) return objects(key, results);
    Result::list_fields(results.emplace_back(), *this);
  }

  /// Throws where `holds` is false.
  void check(bool holds, const char* expected, double got) const;
  void check(bool holds, const char* expected, const char* got) const;

  bool has(const char* key) const { return object_->contains(key); }

 private:
  /// Whether the key has a value other than null.
  bool is_given(const char* key) const;
  const Json& value_of(const char* key, const char* expected) const;
  void require_objects(const char* key) const;
  /// The objects of a list; none where the key is missing.
  std::vector<FieldReader> objects_of(const char* key) const;
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const;

  const Json* object_;
  std::string where_;
};

/// The JSON object of a result. Where the result has a `kVerb`, that stands first.
template <typename Result>
Json write_fields(const Result& result) {
  Json object = Json::object();
  if constexpr (requires { Result::kVerb; }) object["verb"] = Result::kVerb;
  FieldWriter fields(object);
  Result::list_fields(result, fields);
  return object;
}

/// Reads the result in a JSON object, which `where` names in errors.
template <typename Result>
Result read_fields(const Json& object, const std::string& where) {
  Result result;
  const FieldReader fields(object, where);
  Result::list_fields(result, fields);
  return result;
}

}  // namespace longlora::results
