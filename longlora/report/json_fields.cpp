#include "longlora/report/json_fields.h"

#include <fmt/format.h>

#include <limits>

#include "longlora/core/error.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string shown(const Json& value) {
  return shorten(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

}  // namespace

JsonFields::JsonFields(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) {
    fail("a JSON object", shown(object));
  }
}

void JsonFields::fail(const std::string& expected, const std::string& got) const {
  throw InputError(fmt::format("[{}] expected {}, got {}", where_, expected, got));
}

const Json& JsonFields::required(const char* key, const char* expected) const {
  const auto found = object_->find(key);
  if (found == object_->end()) {
    fail(fmt::format("{} under \"{}\"", expected, key), "no such key");
  }
  return *found;
}

bool JsonFields::has(const char* key) const {
  return object_->contains(key);
}

double JsonFields::number(const char* key) const {
  const Json& value = required(key, "a number");
  if (value.is_null()) {
    return kNan;
  }
  if (!value.is_number()) {
    fail(fmt::format("a number under \"{}\"", key), shown(value));
  }
  return value.get<double>();
}

double JsonFields::number_or_nan(const char* key) const {
  return has(key) ? number(key) : kNan;
}

int64_t JsonFields::count(const char* key, int64_t minimum) const {
  const Json& value = required(key, "a whole number");
  const bool is_whole = value.is_number_integer() &&
                        (!value.is_number_unsigned() ||
                         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!is_whole || value.get<int64_t>() < minimum) {
    fail(fmt::format("a whole number of at least {} under \"{}\"", minimum, key), shown(value));
  }
  return value.get<int64_t>();
}

int64_t JsonFields::count_or_unknown(const char* key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? -1 : count(key, 0);
}

double JsonFields::fraction(const char* key) const {
  const Json& value = required(key, "a number from 0 to 1");
  if (!value.is_number() || value.get<double>() < 0.0 || value.get<double>() > 1.0) {
    fail(fmt::format("a number from 0 to 1 under \"{}\"", key), shown(value));
  }
  return value.get<double>();
}

bool JsonFields::boolean(const char* key) const {
  const Json& value = required(key, "true or false");
  if (!value.is_boolean()) {
    fail(fmt::format("true or false under \"{}\"", key), shown(value));
  }
  return value.get<bool>();
}

std::string JsonFields::text_or_empty(const char* key) const {
  const auto found = object_->find(key);
  if (found == object_->end() || found->is_null()) {
    return "";
  }
  if (!found->is_string()) {
    fail(fmt::format("a string under \"{}\"", key), shown(*found));
  }
  return found->get<std::string>();
}

std::vector<JsonFields> JsonFields::objects(const char* key) const {
  const Json& value = required(key, "a list of objects");
  if (!value.is_array() || value.empty()) {
    fail(fmt::format("a list of objects under \"{}\"", key),
         value.is_array() ? "an empty list" : shown(value));
  }
  std::vector<JsonFields> result;
  for (size_t i = 0; i < value.size(); ++i) {
    result.emplace_back(value[i], fmt::format("{}, {}[{}]", where_, key, i));
  }
  return result;
}

}  // namespace longlora::report
