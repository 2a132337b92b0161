#include "longlora/data/sample_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/data/json_samples.h"

namespace longlora::data {

namespace {

bool is_empty(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();  // true for null, an empty list or object; never for a number
}

}  // namespace

SampleFields::SampleFields(const Json& object, std::string place, std::string prefix)
    : object_(object), place_(std::move(place)), prefix_(std::move(prefix)) {}

const Json* SampleFields::look_at(std::string_view name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json* SampleFields::take(std::string_view name) {
  taken_.push_back(name);
  return look_at(name);
}

std::string SampleFields::take_text(std::string_view name) {
  const Json* value = take(name);
  if (value == nullptr) return "";
  if (!value->is_string()) refuse(fmt::format("the field \"{}\" to be a text", name), kind_of(*value));
  return value->get<std::string>();
}

bool SampleFields::holds(std::string_view name) const {
  const auto found = object_.find(name);
  return found != object_.end() && !is_empty(*found);
}

std::string_view SampleFields::first_held(std::span<const std::string_view> names) const {
  const auto found = std::find_if(names.begin(), names.end(), [&](auto name) { return holds(name); });
  return found == names.end() ? std::string_view() : *found;
}

void SampleFields::add_unread(std::vector<std::string>* unread) const {
  for (const auto& [name, value] : object_.items()) {
    const bool was_taken = std::find(taken_.begin(), taken_.end(), name) != taken_.end();
    if (!was_taken && (value.is_boolean() || !is_empty(value))) unread->push_back(prefix_ + name);
  }
}

std::string SampleFields::names() const {
  return field_names(object_);
}

void SampleFields::refuse(const std::string& expected, const std::string& got) const {
  throw InputError(fmt::format("[{}] expected {}, got {}", place_, expected, got));
}

}  // namespace longlora::data
