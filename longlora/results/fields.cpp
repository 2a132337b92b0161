#include "longlora/results/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "longlora/core/error.h"
#include "longlora/core/format.h"

namespace longlora::results {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The text by which a message shows a value.
std::string shown(const Json& value) {
  return shorten(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

bool is_whole_number(const Json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() ||
          value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
}

}  // namespace

void FieldWriter::write(const char* key, double value) {
  (*object_)[key] = std::isfinite(value) ? Json(value) : Json(nullptr);
}

void FieldWriter::write(const char* key, int64_t count) {
  (*object_)[key] = count < 0 ? Json(nullptr) : Json(count);
}

FieldReader::FieldReader(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) fail("a JSON object", shown(object));
}

void FieldReader::fail(const std::string& expected, const std::string& got) const {
  throw InputError(fmt::format("[{}] expected {}, got {}", where_, expected, got));
}

void FieldReader::check(bool holds, const char* expected, double got) const {
  if (!holds) fail(expected, std::isfinite(got) ? fmt::format("{:.3g}", got) : "—");
}

void FieldReader::check(bool holds, const char* expected, const char* got) const {
  if (!holds) fail(expected, got);
}

bool FieldReader::is_given(const char* key) const {
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

const Json& FieldReader::value_of(const char* key, const char* expected) const {
  const auto found = object_->find(key);
  if (found == object_->end()) fail(fmt::format("{} under \"{}\"", expected, key), "no such key");
  return *found;
}

void FieldReader::required(const char* key, double& value) const {
  const Json& found = value_of(key, "a number");
  if (!found.is_null() && !found.is_number()) fail(fmt::format("a number under \"{}\"", key), shown(found));
  value = found.is_null() ? kNan : found.get<double>();
}

void FieldReader::required(const char* key, int64_t& count, int64_t least) const {
  const Json& found = value_of(key, "a whole number");
  if (!is_whole_number(found) || found.get<int64_t>() < least)
    fail(fmt::format("a whole number of at least {} under \"{}\"", least, key), shown(found));
  count = found.get<int64_t>();
}

void FieldReader::required(const char* key, bool& value) const {
  const Json& found = value_of(key, "true or false");
  if (!found.is_boolean()) fail(fmt::format("true or false under \"{}\"", key), shown(found));
  value = found.get<bool>();
}

void FieldReader::share(const char* key, double& value) const {
  const Json& found = value_of(key, "a number from 0 to 1");
  if (!found.is_number() || found.get<double>() < 0.0 || found.get<double>() > 1.0)
    fail(fmt::format("a number from 0 to 1 under \"{}\"", key), shown(found));
  value = found.get<double>();
}

void FieldReader::token_ids(const char* key, std::vector<int64_t>& ids) const {
  const auto found = object_->find(key);
  const bool is_list = found != object_->end() && found->is_array() && found->size() >= 2 &&
                       std::all_of(found->begin(), found->end(), is_whole_number);
  if (!is_list)
    fail(fmt::format("a list of at least two ids under \"{}\"", key), has(key) ? "another value" : "none");
  ids = found->get<std::vector<int64_t>>();
}

void FieldReader::optional(const char* key, double& value) const {
  if (has(key)) required(key, value);
}

void FieldReader::optional(const char* key, double& value, double otherwise) const {
  value = otherwise;
  optional(key, value);
}

void FieldReader::optional(const char* key, int64_t& count) const {
  if (is_given(key)) required(key, count);
}

void FieldReader::optional(const char* key, std::string& text) const {
  if (!is_given(key)) return;
  const Json& found = (*object_)[key];
  if (!found.is_string()) fail(fmt::format("a string under \"{}\"", key), shown(found));
  text = found.get<std::string>();
}

void FieldReader::optional(const char* key, std::vector<double>& numbers) const {
  if (!is_given(key)) return;
  const Json& found = (*object_)[key];
  const auto is_number = [](const Json& value) { return value.is_number() || value.is_null(); };
  if (!found.is_array() || !std::all_of(found.begin(), found.end(), is_number))
    fail(fmt::format("a list of numbers under \"{}\"", key), shown(found));
  for (const Json& value : found) numbers.push_back(value.is_null() ? kNan : value.get<double>());
}

void FieldReader::optional(const char* key, std::vector<std::string>& texts) const {
  if (!is_given(key)) return;
  const Json& found = (*object_)[key];
  const auto is_text = [](const Json& value) { return value.is_string(); };
  if (!found.is_array() || !std::all_of(found.begin(), found.end(), is_text))
    fail(fmt::format("a list of texts under \"{}\"", key), shown(found));
  texts = found.get<std::vector<std::string>>();
}

void FieldReader::optional(const char* key, Json& value) const {
  if (has(key)) value = (*object_)[key];
}

void FieldReader::require_objects(const char* key) const {
  const Json& found = value_of(key, "a list of objects");
  if (!found.is_array() || found.empty())
    fail(fmt::format("a list of objects under \"{}\"", key),
         found.is_array() ? "an empty list" : shown(found));
}

std::vector<FieldReader> FieldReader::objects_of(const char* key) const {
  std::vector<FieldReader> objects;
  if (!has(key)) return objects;
  const Json& found = (*object_)[key];
  if (!found.is_array()) fail(fmt::format("a list of objects under \"{}\"", key), shown(found));
  for (size_t i = 0; i < found.size(); ++i)
    objects.emplace_back(found[i], fmt::format("{}, {}[{}]", where_, key, i));
  return objects;
}

}  // namespace longlora::results
